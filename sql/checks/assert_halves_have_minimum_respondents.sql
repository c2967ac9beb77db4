-- one row per cell and half with fewer valid answers than $minimum_of_half, or an effective n under $minimum_effective_n_of_half: too few
-- to name a mode
select
    item,
    subgroup_id,
    half,
    respondents,
    effective_n,
from half_targets
where (respondents >= $minimum_of_half and effective_n >= $minimum_effective_n_of_half) is not true
