-- one row per respondent: the half of the survey, A or B, that they are in, as drawn by $seed
-- Respondents of one country, wave and set of traits stand together, both sets and respondents in a drawn order, and go to the halves in
-- turn: so the halves of a stratum differ by one at most, those of a subgroup by little, and a stratum of one is in either half alike.
with drawn as (
    select
        respondent_id,
        country,
        wave,
        md5($seed || '|' || traits::varchar) as stratum,
        md5($seed || '|' || respondent_id) as draw,
    from stg_respondents
)

select
    respondent_id,
    case row_number() over turns % 2
        when 1 then 'A'
        else 'B'
    end as half,
from drawn
window turns as (
    partition by country, wave
    order by stratum, draw, respondent_id
)
