-- one row per respondent with a usable weight: country, wave, year, weight and traits
-- $wave_column is null in a file of one wave, $wave. A level of the column that refines a dimension goes before the dimension's own.
with identities as (
    select
        respondent_id,
        max(cell) filter (where "column" = $country_column) as country_cell,
        max(cell) filter (where "column" = $year_column) as year,
        max(cell) filter (where "column" = $wave_column) as wave_cell,
    from raw_cells
    group by respondent_id
),

levels as (
    select
        raw_cells.respondent_id,
        study_dimensions.dimension,
        study_dimensions.position,
        arg_max(value_map.level, study_dimensions.rank) as level,
    from raw_cells
    join value_map
        on
            raw_cells."column" = value_map."column"
            and raw_cells.cell = value_map.cell
    join study_dimensions
        on
            value_map.dimension = study_dimensions.dimension
            and value_map."column" = study_dimensions."column"
    where value_map.level is not null
    group by all
),

traits as (
    select
        respondent_id,
        map(
            list(dimension order by position),
            list(level order by position)
        ) as traits,
    from levels
    group by respondent_id
)

select
    identities.respondent_id,
    country_cells.country,
    coalesce(wave_cells.wave, $wave)::integer as wave,
    try_cast(replace(identities.year, ',', '.') as double)::integer as year,
    raw_weights.weight,
    coalesce(traits.traits, map([]::varchar[], []::varchar[])) as traits,
from identities
left join country_cells on identities.country_cell = country_cells.cell
left join wave_cells on identities.wave_cell = wave_cells.cell
join raw_weights on identities.respondent_id = raw_weights.respondent_id
left join traits on identities.respondent_id = traits.respondent_id
where raw_weights.weight is not null
order by identities.respondent_id
