"""Prints what a file of Rerun holds, read by Rerun's own reader, as JSON: for each entity a list of
rows, and in a row the time on each timeline and the values of each component. Run by a Python with
rerun-sdk, whose NumPy openpi's client does not take:

    read_rrd.py FILE.rrd
"""

import json
import sys

import pyarrow
from rerun.chunk import RrdReader


def values_of(column):
    is_time = pyarrow.types.is_timestamp(column.type)
    return (column.cast("int64") if is_time else column).to_pylist()


def main(source):
    entities = {}
    for chunk in RrdReader(source).stream():
        batch = chunk.to_record_batch()
        columns = {name: values_of(column) for name, column in zip(batch.schema.names, batch.columns)
                   if name in chunk.timeline_names or ":" in name}
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        entities.setdefault(chunk.entity_path, []).extend(rows)
    json.dump(entities, sys.stdout, default=str)


if __name__ == "__main__":
    main(sys.argv[1])
