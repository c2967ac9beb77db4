-- one row per cell that is in one half of the survey only, or whose halves differ by more than six standard deviations of a fair draw
-- (sqrt(n) each): targets of the two halves would not be equally sure
with sizes as (
    select
        item,
        subgroup_id,
        count(distinct half) as halves,
        max(respondents) as larger,
        min(respondents) as smaller,
    from half_targets
    group by all
)

select
    item,
    subgroup_id,
    halves,
    larger,
    smaller,
from sizes
where
    halves != 2
    or larger - smaller > 6 * sqrt(larger + smaller)
