"""The pure core: functions of arrays and timestamps. No asyncio, no files, no clocks."""
