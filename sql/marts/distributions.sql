-- one row per question, subgroup and fielded option: the weighted share of valid answers, in cells with enough of them
with valid as (
    select
        respondent_id,
        item,
        code,
    from stg_answers
    semi join items using (item)
    where code is not null
),

members as (
    select
        memberships.respondent_id,
        memberships.subgroup_id,
        memberships.weight,
    from memberships
    semi join subgroups using (subgroup_id)
),

counts as (
    select
        valid.item,
        members.subgroup_id,
        valid.code,
        count(*) as respondents,
        sum(members.weight) as weight,
        sum(members.weight ^ 2) as squared_weight,
    from valid
    join members using (respondent_id)
    group by all
),

large as (
    select
        item,
        subgroup_id,
        sum(respondents)::bigint as respondents,
        sum(weight) as weight,
        sum(weight) ^ 2 / sum(squared_weight) as effective_n,
    from counts
    group by all
    having sum(respondents) >= $minimum_respondents and sum(weight) ^ 2 / sum(squared_weight) >= $minimum_effective_n
),

asked as (
    select item
    from large
    where subgroup_id = 'all'
),

-- Effective n may be smaller for everybody than for a part: without everybody's answer a question has nothing to be compared with.
cells as (
    select large.*
    from large
    semi join asked on large.item = asked.item
)

select
    cells.item,
    cells.subgroup_id,
    options.code,
    options.position,
    coalesce(counts.weight, 0) / cells.weight as share,
    cells.respondents,
    cells.effective_n,
from cells
join options using (item)
left join counts using (item, subgroup_id, code)
order by cells.item, cells.subgroup_id, options.position
