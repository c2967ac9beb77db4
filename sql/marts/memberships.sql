-- one row per respondent and subgroup that they belong to: everybody, and every set of up to $subgroup_order traits
-- Each country's wave weighs alike, whatever its number of respondents. Respondents of a held-out country or wave ($held_out, levels of
-- $held_out_dimension) count in its own subgroups only: what is trained must not know their answers.
-- Levels of $national dimensions are a country's own, and carry its name: one country's "Other" is another's.
with populations as (
    select
        country,
        wave,
        sum(weight) as weight,
    from stg_respondents
    group by all
),

people as (
    select
        stg_respondents.respondent_id,
        stg_respondents.weight / populations.weight as weight,
        populations.country,
        map_concat(stg_respondents.traits, map { 'country': populations.country, 'wave': populations.wave::varchar }) as traits,
    from stg_respondents
    join populations using (country, wave)
),

held_out as (
    select respondent_id
    from people
    where list_contains($held_out, traits[$held_out_dimension])
),

respondents as (
    select
        respondent_id,
        weight,
        country,
        unnest(map_entries(traits)) as trait,
    from people
),

levels as (
    select
        respondent_id,
        weight,
        trait.key as dimension,
        case
            when list_contains($national, trait.key) then trait.value || ' (' || country || ')'
            else trait.value
        end as level,
    from respondents
    where list_contains($dimensions, trait.key)
),

traits as (
    select
        respondent_id,
        weight,
        dimension,
        level,
        dimension || '=' || level as trait_id,
        list_position($dimensions, dimension) as position,
    from levels
),

everybody as (
    select
        respondent_id,
        weight,
        'all' as subgroup_id,
        0 as subgroup_order,
        'all' as dimension,
        []::varchar[] as dimensions,
        []::varchar[] as levels,
        []::varchar[] as parents,
    from people
),

singles as (
    select
        respondent_id,
        weight,
        trait_id as subgroup_id,
        1 as subgroup_order,
        dimension,
        [dimension] as dimensions,
        [level] as levels,
        ['all'] as parents,
    from traits
),

pairs as (
    select
        first.respondent_id,
        first.weight,
        first.trait_id || '|' || second.trait_id as subgroup_id,
        2 as subgroup_order,
        first.dimension || ' x ' || second.dimension as dimension,
        [first.dimension, second.dimension] as dimensions,
        [first.level, second.level] as levels,
        [first.trait_id, second.trait_id] as parents,
    from traits as first
    join traits as second on first.respondent_id = second.respondent_id and first.position < second.position
    where $subgroup_order >= 2
),

triples as (
    select
        first.respondent_id,
        first.weight,
        first.trait_id || '|' || second.trait_id || '|' || third.trait_id as subgroup_id,
        3 as subgroup_order,
        first.dimension || ' x ' || second.dimension || ' x ' || third.dimension as dimension,
        [first.dimension, second.dimension, third.dimension] as dimensions,
        [first.level, second.level, third.level] as levels,
        [
            first.trait_id || '|' || second.trait_id,
            first.trait_id || '|' || third.trait_id,
            second.trait_id || '|' || third.trait_id
        ] as parents,
    from traits as first
    join traits as second on first.respondent_id = second.respondent_id and first.position < second.position
    join traits as third on first.respondent_id = third.respondent_id and second.position < third.position
    where $subgroup_order >= 3
),

members as (
    select * from everybody
    union all by name
    select * from singles
    union all by name
    select * from pairs
    union all by name
    select * from triples
)

select *
from members
where
    subgroup_order <= $subgroup_order
    and (
        list_contains(dimensions, $held_out_dimension)
        or respondent_id not in (select held_out.respondent_id from held_out)
    )
