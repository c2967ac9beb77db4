-- one row per model and test pair that it answered never or twice, or that is no test pair: models would be scored on different pairs
with asked as (
    select
        item,
        subgroup_id,
        split,
    from pairs
    where split in ('id_test', 'ood_test')
),

askers as (
    select distinct
        model,
        reader,
        variant,
    from predictions
),

expected as (
    select *
    from askers
    cross join asked
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
    model,
    reader,
    variant,
    item,
    subgroup_id,
    split,
    expected.item is not null as is_expected,
    coalesce(answered.predictions, 0) as predictions,
from expected
full join answered using (model, reader, variant, item, subgroup_id, split)
where
    expected.item is null
    or answered.predictions is distinct from 1
