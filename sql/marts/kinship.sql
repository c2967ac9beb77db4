-- one row per ordered pair of subgroups that share at least $minimum_respondents: part, of the subgroup's respondents in the other, and the
-- Jaccard index, shared respondents / respondents of either (Jaccard 1912).
-- Two decimals: how near subgroups are, not how many people tell them apart.
with members as (
    select
        memberships.respondent_id,
        memberships.subgroup_id,
    from memberships
    semi join subgroups using (subgroup_id)
),

shared as (
    select
        members.subgroup_id,
        others.subgroup_id as other_id,
        count(*) as respondents,
    from members
    join members as others on members.respondent_id = others.respondent_id and members.subgroup_id != others.subgroup_id
    group by all
)

select
    shared.subgroup_id,
    shared.other_id,
    round(shared.respondents / subgroups.respondents, 2) as part,
    round(shared.respondents / (subgroups.respondents + others.respondents - shared.respondents), 2) as jaccard,
from shared
join subgroups on shared.subgroup_id = subgroups.subgroup_id
join subgroups as others on shared.other_id = others.subgroup_id
where shared.respondents >= $minimum_respondents
order by shared.subgroup_id, shared.other_id
