-- one row per question and subgroup that is asked of a model: its split, its prompt, and the survey's answer.
-- differs: the target is not the country's modal answer
with shares as (
    select
        item,
        subgroup_id,
        list(code order by position) as codes,
        list(share order by position) as shares,
    from distributions
    group by all
),

national as (
    select
        item,
        code as national_code,
    from targets
    where subgroup_id = 'all'
)

select
    targets.item,
    targets.subgroup_id,
    subgroups.subgroup_order,
    subgroups.dimension,
    items.topic,
    splits.split,
    personas.persona,
    prompts.prompt,
    shares.codes,
    shares.shares,
    targets.code,
    targets.tied_codes,
    targets.tied,
    targets.margin,
    targets.respondents,
    targets.effective_n,
    targets.mode_certainty,
    targets.posterior,
    targets.code != national.national_code as differs,
    items.scale,
    items.k,
    subgroups.weight_share,
from targets
join national using (item)
join subgroups using (subgroup_id)
join items using (item)
join shares using (item, subgroup_id)
join splits using (item, subgroup_id)
join personas using (subgroup_id)
join prompts using (item, subgroup_id)
order by targets.item, targets.subgroup_id
