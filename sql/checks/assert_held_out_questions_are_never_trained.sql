-- one row per pair of a held-out question that is outside ood_test, where questions are what is held out: the question would not be unseen
with held_out as (
    select distinct item
    from pairs
    where split = 'ood_test' and $split_kind = 'unseen_question'
)

select
    pairs.item,
    pairs.subgroup_id,
    pairs.split,
from pairs
semi join held_out using (item)
where pairs.split != 'ood_test'
