"""Archives: rows in files, and a manifest that is enough to restore them.

A value is held in the file at the Arrow type its logical type has (see ``forms``). What such a
type cannot hold (a numeric ``NaN``, an infinite date, an array of two dimensions) is NULL there
and stands, as canonical text, in one more column, ``EXACT``, of those files that need it.
"""
