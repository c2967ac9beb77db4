-- one row per other country or year-less group among the respondents: a file of several countries was not cut down to $country
select
    country,
    wave,
    year,
    count(*) as respondents,
from stg_respondents
where
    country is distinct from $country
    or wave is null
    or year is null
group by country, wave, year
order by country, wave, year
