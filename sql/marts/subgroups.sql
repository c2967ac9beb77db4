-- one row per subgroup with at least the minimum number of respondents; effective_n = (sum w)^2 / sum w^2.
-- Of subgroups that are the same respondents (everybody of the only wave, and everybody) the one of fewest traits stays: a twin in another
-- split would be tested on what was trained. Parents are named by the twin that stayed.
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
        sum(hash(respondent_id)) as fingerprint,
    from memberships
    group by all
),

twins as (
    select
        *,
        first_value(subgroup_id) over alike as twin,
    from sizes
    where respondents >= $minimum_respondents
    window alike as (
        partition by respondents, fingerprint
        order by subgroup_order, list_sort(string_split(subgroup_id, '|'))
    )
),

stayed as (
    select * from twins
    where subgroup_id = twin
),

names as (
    select map_from_entries(list((subgroup_id, twin))) as twin_of
    from twins
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
    stayed.* exclude (weight, fingerprint, twin) replace (
        list_filter([names.twin_of[parent] for parent in stayed.parents], lambda parent: parent is not null) as parents
    ),
    stayed.weight / populations.populations as weight_share,
    coalesce(list_contains($held_out, stayed.levels[list_position(stayed.dimensions, $held_out_dimension)]), false) as unseen,
from stayed
cross join names
cross join populations
order by stayed.subgroup_order, stayed.subgroup_id
