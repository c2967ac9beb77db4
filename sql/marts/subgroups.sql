-- one row per subgroup with at least the minimum number of respondents; effective_n = (sum w)^2 / sum w^2
with sizes as (
    select
        subgroup_id,
        subgroup_order,
        dimension,
        dimensions,
        levels,
        parents,
        count(*) as respondents,
        sum(weight) as weight,
        sum(weight) ^ 2 / sum(weight ^ 2) as effective_n,
    from memberships
    group by all
),

country as (
    select sum(weight) as weight from stg_respondents
)

select
    sizes.* exclude (weight),
    sizes.weight / country.weight as weight_share,
from sizes
cross join country
where sizes.respondents >= $minimum_respondents
order by sizes.subgroup_order, sizes.subgroup_id
