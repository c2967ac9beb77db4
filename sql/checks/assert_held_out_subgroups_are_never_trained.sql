-- one row per pair of a held-out subgroup that is outside ood_test, unless questions are what is held out: the subgroup would not be unseen
with held_out as (
    select distinct subgroup_id
    from pairs
    where split = 'ood_test' and $split_kind != 'unseen_question'
)

select
    pairs.item,
    pairs.subgroup_id,
    pairs.split,
from pairs
semi join held_out using (subgroup_id)
where pairs.split != 'ood_test'
