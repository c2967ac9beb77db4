-- one row per respondent and subgroup that they belong to: everybody, and every set of up to $subgroup_order traits
with respondents as (
    select
        respondent_id,
        weight,
        unnest(map_entries(traits)) as trait,
    from stg_respondents
),

traits as (
    select
        respondent_id,
        weight,
        trait.key as dimension,
        trait.value as level,
        trait.key || '=' || trait.value as trait_id,
        list_position($dimensions, trait.key) as position,
    from respondents
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
    from stg_respondents
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

select * from members
where subgroup_order <= $subgroup_order
