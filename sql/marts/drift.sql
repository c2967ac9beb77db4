-- one row per question and subgroup of two runs: what a new wave, or a new version of one, changed in the targets
-- A question is known by its integrated code where both codebooks have one: waves that number it differently meet. Options are known by
-- their place on the scale, and only where both runs have the same wordings. `moved`: no option that is modal now was modal before, ties
-- included. `distance`: total variation, half the sum of the absolute differences of the shares.
with both_items as (
    select
        items.item,
        items.question,
        items.topic,
        coalesce(items.integrated, items.item) as question_code,
        true as is_now,
    from items
    union all
    select
        before_items.item,
        before_items.question,
        before_items.topic,
        coalesce(before_items.integrated, before_items.item) as question_code,
        false as is_now,
    from before_items
),

both_options as (
    select
        options.item,
        options.position,
        options.wording,
        true as is_now,
    from options
    union all
    select
        before_options.item,
        before_options.position,
        before_options.wording,
        false as is_now,
    from before_options
),

both_cells as (
    select
        distributions.item,
        distributions.subgroup_id,
        distributions.position,
        distributions.share,
        distributions.respondents,
        true as is_now,
    from distributions
    union all
    select
        before_distributions.item,
        before_distributions.subgroup_id,
        before_distributions.position,
        before_distributions.share,
        before_distributions.respondents,
        false as is_now,
    from before_distributions
),

questions as (
    select
        both_items.is_now,
        both_items.item,
        both_items.question,
        both_items.topic,
        both_items.question_code,
        list(both_options.wording order by both_options.position) as wordings,
    from both_items
    join both_options using (is_now, item)
    group by all
),

tops as (
    select
        *,
        max(share) over (partition by is_now, item, subgroup_id) as top_share,
    from both_cells
),

answers as (
    select
        is_now,
        item,
        subgroup_id,
        respondents,
        top_share as share,
        list(share order by position) as shares,
        list(position order by position) filter (where share >= top_share - 1e-9) as modes,
    from tops
    group by is_now, item, subgroup_id, respondents, top_share
),

cells as (
    select
        questions.*,
        answers.* exclude (is_now, item),
        questions.wordings[answers.modes[1] + 1] as answer,
    from answers
    join questions using (is_now, item)
)

select
    now.item,
    was.item as item_before,
    now.question,
    now.topic,
    now.subgroup_id,
    not list_has_any(now.modes, was.modes) as moved,
    was.answer as answer_before,
    now.answer,
    was.share as share_before,
    now.share,
    was.respondents as respondents_before,
    now.respondents,
    list_sum([abs(pair[1] - pair[2]) for pair in list_zip(now.shares, was.shares)]) / 2 as distance,
from cells as now
join cells as was using (question_code, wordings, subgroup_id)
where now.is_now and not was.is_now
order by moved desc, distance desc, now.item asc, now.subgroup_id asc
