-- one row per cell whose shares do not sum to 1: an option is lost, or a share was divided by other answers than the valid ones
select
    item,
    subgroup_id,
    sum(share) as total_share,
from distributions
group by all
having (abs(sum(share) - 1) <= 1e-9) is not true
