-- one row per respondent of the study's country: the weight, or null where the cell is no positive number
-- Text exports write a weight of 1 as the label "No weighting", some files a comma for the point.
-- $weight_column is null when the study takes none.
with cells as (
    select
        respondents.respondent_id,
        weights.cell,
        try_cast(replace(weights.cell, ',', '.') as double) as number,
    from raw_cells as respondents
    left join raw_cells as weights
        on
            respondents.respondent_id = weights.respondent_id
            and weights."column" = $weight_column
    where respondents."column" = $country_column
)

select
    respondent_id,
    cell,
    case
        when $weight_column is null or lower(trim(cell)) = 'no weighting' then 1.0
        when isfinite(number) and number > 0 then number
    end as weight,
from cells
