-- one row per reader, variant and pair that was asked never or twice, though the model was compared on it: readers would differ by pairs
with compared as (
    select distinct
        model,
        item,
        subgroup_id,
        split,
    from predictions
),

askers as (
    select distinct
        model,
        reader,
        variant,
    from predictions
),

answered as (
    select
        model,
        reader,
        variant,
        item,
        subgroup_id,
        split,
        count(*) as predictions,
    from predictions
    group by all
)

select
    askers.model,
    askers.reader,
    askers.variant,
    compared.item,
    compared.subgroup_id,
    compared.split,
    coalesce(answered.predictions, 0) as predictions,
from askers
join compared using (model)
left join answered using (model, reader, variant, item, subgroup_id, split)
where answered.predictions is distinct from 1
