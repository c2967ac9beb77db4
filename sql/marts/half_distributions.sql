-- one row per question, subgroup, half and fielded option: the weighted share within the half, where both halves have enough valid answers
-- half_a and half_b hold what sql/marts/distributions.sql makes of each half's respondents.
with halves_together as (
    select
        'A' as half,
        *,
    from half_a.distributions
    union all
    select
        'B' as half,
        *,
    from half_b.distributions
),

in_both as (
    select
        item,
        subgroup_id,
    from halves_together
    group by all
    having count(distinct half) = 2
)

select halves_together.*
from halves_together
semi join in_both on halves_together.item = in_both.item and halves_together.subgroup_id = in_both.subgroup_id
-- A cell is one of the study's own, too.
semi join distributions on halves_together.item = distributions.item and halves_together.subgroup_id = distributions.subgroup_id
order by halves_together.item, halves_together.subgroup_id, halves_together.half, halves_together.position
