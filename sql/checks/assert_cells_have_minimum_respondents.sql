-- one row per cell with fewer valid answers than $minimum_respondents, or an effective n under $minimum_effective_n: too few to
-- name a mode, and enough to point at people
with cells as (
    select distinct
        item,
        subgroup_id,
        respondents,
        effective_n,
    from distributions
    union
    select
        item,
        subgroup_id,
        respondents,
        effective_n,
    from targets
)

select
    item,
    subgroup_id,
    respondents,
    effective_n,
from cells
where (respondents >= $minimum_respondents and effective_n >= $minimum_effective_n) is not true
