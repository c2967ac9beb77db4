-- one row per cell with fewer valid answers than $minimum_respondents: too few to name a mode, and enough to point at people
with cells as (
    select distinct
        item,
        subgroup_id,
        respondents,
    from distributions
    union
    select
        item,
        subgroup_id,
        respondents,
    from targets
)

select
    item,
    subgroup_id,
    respondents,
from cells
where (respondents >= $minimum_respondents) is not true
