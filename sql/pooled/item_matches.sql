-- one row per file, item and option of its codebook that means the same in every file: the name and code in the newest file's codebook
-- In files of one codebook an item is itself; across codebooks it is known by its integrated code, and stays only where all codebooks have
-- the same wordings in the same order.
with codebooks as (
    select
        file_items.file,
        file_items.item,
        case
            when $one_codebook then file_items.item
            else file_items.integrated
        end as shared_name,
        list(file_codebook_options.wording order by file_codebook_options.scale_position) as wordings,
    from file_items
    join file_codebook_options
        on
            file_items.file = file_codebook_options.file
            and file_items.item = file_codebook_options.item
    group by all
),

shared as (
    select shared_name
    from codebooks
    where shared_name is not null
    group by shared_name
    having count(*) = $files and count(distinct file) = $files and count(distinct wordings) = 1
),

named as (
    select
        codebooks.file,
        codebooks.item,
        newest.item as pooled_item,
    from codebooks
    semi join shared on codebooks.shared_name = shared.shared_name
    join codebooks as newest on codebooks.shared_name = newest.shared_name and newest.file = $newest
)

select
    named.file,
    named.item,
    theirs.code,
    named.pooled_item,
    ours.code as pooled_code,
    ours.scale_position,
    ours.wording,
from named
join file_codebook_options as theirs on named.file = theirs.file and named.item = theirs.item
join file_codebook_options as ours
    on
        ours.file = $newest
        and named.pooled_item = ours.item
        and theirs.scale_position = ours.scale_position
