-- one row per subgroup that lacks one of its parents (one trait fewer each): baselines and splits would read a table that is not there
-- A held-out country's subgroup may be the only one with its trait.
with named as (
    select
        subgroup_id,
        unnest(parents) as parent_id,
    from subgroups
),

found as (
    select
        named.subgroup_id,
        count(*) as parents,
    from named
    semi join subgroups on named.parent_id = subgroups.subgroup_id and named.subgroup_id != subgroups.subgroup_id
    group by all
)

select
    subgroups.subgroup_id,
    subgroups.subgroup_order,
    coalesce(found.parents, 0) as parents_found,
from subgroups
left join found using (subgroup_id)
where
    coalesce(found.parents, 0) != subgroups.subgroup_order
    and not subgroups.unseen
