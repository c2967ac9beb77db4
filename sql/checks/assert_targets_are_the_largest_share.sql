-- one row per target that is not the first on the scale of the options with the largest share, or whose tie (1e-9) is not flagged
with ranked as (
    select
        item,
        subgroup_id,
        code,
        position,
        share >= max(share) over (partition by item, subgroup_id) - 1e-9 as is_largest,
    from distributions
),

expected as (
    select
        item,
        subgroup_id,
        arg_min(code, position) as code,
        count(*) > 1 as tied,
    from ranked
    where is_largest
    group by all
)

select
    targets.item,
    targets.subgroup_id,
    targets.code,
    targets.tied,
    expected.code as expected_code,
    expected.tied as expected_tied,
from targets
left join expected using (item, subgroup_id)
where
    targets.code is distinct from expected.code
    or targets.tied is distinct from expected.tied
