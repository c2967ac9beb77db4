-- one row when respondents appear twice: every share would be wrong
select count(*) - count(distinct respondent_id) as repeated,
from stg_respondents
having count(*) <> count(distinct respondent_id)
