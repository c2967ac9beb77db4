-- one row per other country or year-less group among the respondents: a file of several countries was not cut down to $countries
select
    country,
    wave,
    year,
    count(*) as respondents,
from stg_respondents
where
    list_contains($countries, country) is not true
    or wave is null
    or year is null
group by country, wave, year
order by country, wave, year
