-- one row per item and fielded option, ranked along the scale.
-- A ten-point scale fields all of its points; elsewhere an option that nobody chose may not have been on the card.
with answered as (
    select
        "column" as item,
        code,
        sum(respondents) as respondents,
    from value_map
    where code is not null
    group by "column", code
),

answered_items as (
    select distinct item from answered
),

fielded as (
    select
        codebook_options.item,
        codebook_options.code,
        codebook_options.scale_position,
        codebook_options.wording,
    from codebook_options
    join codebook_items on codebook_options.item = codebook_items.item
    join answered_items on codebook_options.item = answered_items.item
    left join answered
        on
            codebook_options.item = answered.item
            and codebook_options.code = answered.code
    where codebook_items.endpoints_only or answered.respondents > 0
)

select
    item,
    code,
    (row_number() over scale - 1)::integer as position,
    wording,
from fielded
window scale as (partition by item order by scale_position)
qualify count(*) over (partition by item) >= 2
order by item, position
