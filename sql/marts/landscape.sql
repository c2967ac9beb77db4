-- one row per question and dimension: Modal Diversity Score = entropy of the subgroups' modal options / log K.
-- mds_expected, low, high and mds_sampling: tasks/subgroups/diversity.py
with modes as (
    select
        targets.item,
        targets.code,
        subgroups.dimension,
    from targets
    join subgroups using (subgroup_id)
    where subgroups.subgroup_order > 0
),

grouped as (
    select
        item,
        code,
        unnest([dimension, 'all']) as dimension,
    from modes
),

diversity as (
    select
        item,
        dimension,
        count(*) as subgroups,
        greatest(entropy(code), 0) as entropy, -- in bits; rounding may leave a hair under 0
    from grouped
    group by all
)

select
    diversity.item,
    items.topic,
    diversity.dimension,
    diversity.subgroups,
    items.k,
    diversity.entropy,
    diversity.entropy / log2(items.k) as mds,
    diversity.entropy / log2(nullif(least(items.k, diversity.subgroups), 1)) as mds_reachable,
    diversity_intervals.mds_expected,
    diversity_intervals.low,
    diversity_intervals.high,
    diversity_intervals.mds_sampling,
from diversity
join items using (item)
join diversity_intervals on diversity.item = diversity_intervals.item and diversity.dimension = diversity_intervals.dimension
order by diversity.item, diversity.dimension
