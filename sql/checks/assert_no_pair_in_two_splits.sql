-- one row per pair that occurs twice, in one split or in two: what is tested may have been trained
select
    item,
    subgroup_id,
    list(distinct split order by split) as splits,
    count(*) as pairs,
from pairs
group by all
having count(*) > 1
