-- one row per question, subgroup and half: what sql/marts/targets.sql says of the half's respondents, for the cells of half_distributions
with halves_together as (
    select
        'A' as half,
        *,
    from half_a.targets
    union all
    select
        'B' as half,
        *,
    from half_b.targets
)

select halves_together.*
from halves_together
semi join half_distributions using (item, subgroup_id)
order by halves_together.item, halves_together.subgroup_id, halves_together.half
