-- one row when respondents have a weight that is no positive number: their answers would count for nothing, or against
select count(*) as respondents,
from stg_respondents
where
    weight is null
    or not isfinite(weight)
    or weight <= 0
having count(*) > 0
