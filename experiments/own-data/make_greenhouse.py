"""Writes greenhouse.csv: 120 days of hourly readings of a greenhouse that does not exist. Plain Python, the same bytes each time."""
import datetime
import math
import os
import random

HOURS = 120 * 24
START = datetime.datetime(2022, 3, 1)


def rows():
    draw = random.Random(2022)
    cloud, inside, heating = 0.5, 16.0, 0
    for hour in range(HOURS):
        day, clock = divmod(hour, 24)
        # Clouds stay for hours; some mornings there is no sun at all.
        cloud = min(1.0, max(0.0, cloud + 0.12 * (draw.random() - 0.5) + 0.02 * (0.5 - cloud)))
        sun = max(0.0, math.sin(math.pi * (clock - 6) / 12)) * (1 - 0.9 * cloud)
        outside = 8 + 5 * math.sin(math.pi * (clock - 9) / 12) - 2 * cloud + 0.4 * draw.gauss(0, 1)
        # A thermostat with hysteresis, and walls that lose heat.
        heating = 1 if inside < 14 else 0 if inside > 17 else heating
        inside += 0.15 * (outside - inside) + 3.5 * sun + 2.5 * heating + 0.2 * draw.gauss(0, 1)
        humidity = min(99.0, max(20.0, 85 - 1.6 * (inside - 14) + 12 * cloud + draw.gauss(0, 1.5)))
        stamp = (START + datetime.timedelta(hours=hour)).strftime("%Y-%m-%d %H:%M")
        yield stamp, "%.1f" % inside, "%.1f" % outside, "%.0f" % humidity, "%.2f" % sun, "%d" % heating


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "greenhouse.csv")
    with open(path, "w", newline="\n") as file:
        file.write("time,inside,outside,humidity,sun,heating\n")
        for row in rows():
            file.write(",".join(row) + "\n")


if __name__ == "__main__":
    main()
