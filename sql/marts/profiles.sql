-- one row per respondent: their weight and their profile, the single traits that they have
-- Never leaves memory: a profile may be one respondent's.
with singles as (
    select
        respondent_id,
        list(subgroup_id order by subgroup_id) as profile,
    from memberships
    where subgroup_order = 1
    group by respondent_id
)

select
    memberships.respondent_id,
    memberships.weight,
    coalesce(singles.profile, []::varchar[]) as profile,
from memberships
left join singles on memberships.respondent_id = singles.respondent_id
where memberships.subgroup_order = 0
