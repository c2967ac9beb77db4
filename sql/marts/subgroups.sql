-- one row per subgroup with at least the minimum number of respondents; effective_n = (sum w)^2 / sum w^2
-- `unseen`: of a country or wave that is held out; it may lack a parent, where nobody else has the trait.
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

large as (
    select * from sizes
    where respondents >= $minimum_respondents
),

names as (
    select list(subgroup_id) as subgroup_ids
    from large
),

places as (
    select distinct
        country,
        wave,
    from stg_respondents
),

populations as (
    select count(*) as populations
    from places
)

select
    large.* exclude (weight) replace (
        list_filter(large.parents, lambda parent: list_contains(names.subgroup_ids, parent)) as parents
    ),
    large.weight / populations.populations as weight_share,
    coalesce(list_contains($held_out, large.levels[list_position(large.dimensions, $held_out_dimension)]), false) as unseen,
from large
cross join names
cross join populations
order by large.subgroup_order, large.subgroup_id
