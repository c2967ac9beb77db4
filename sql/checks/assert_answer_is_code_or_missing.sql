-- one row per item and missing code where an answer has both a code and a reason why there is none, or neither
select
    item,
    missing,
    count(*) as answers,
from stg_answers
where (code is null) = (missing is null)
group by item, missing
order by item, missing
