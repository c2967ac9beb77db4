-- one row per respondent with a usable weight: country, year, weight and traits
with identities as (
    select
        respondent_id,
        max(cell) filter (where "column" = $country_column) as country_cell,
        max(cell) filter (where "column" = $year_column) as year,
    from raw_cells
    group by respondent_id
),

traits as (
    select
        raw_cells.respondent_id,
        map(
            list(value_map.dimension order by study_dimensions.position),
            list(value_map.level order by study_dimensions.position)
        ) as traits,
    from raw_cells
    join value_map
        on
            raw_cells."column" = value_map."column"
            and raw_cells.cell = value_map.cell
    join study_dimensions on value_map.dimension = study_dimensions.dimension
    where value_map.level is not null
    group by raw_cells.respondent_id
)

select
    identities.respondent_id,
    country_cells.country,
    $wave::integer as wave,
    try_cast(replace(identities.year, ',', '.') as double)::integer as year,
    raw_weights.weight,
    coalesce(traits.traits, map([]::varchar[], []::varchar[])) as traits,
from identities
left join country_cells on identities.country_cell = country_cells.cell
join raw_weights on identities.respondent_id = raw_weights.respondent_id
left join traits on identities.respondent_id = traits.respondent_id
where raw_weights.weight is not null
order by identities.respondent_id
