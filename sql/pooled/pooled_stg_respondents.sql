-- one row per respondent of all files
select * exclude (file)
from file_stg_respondents
order by respondent_id
