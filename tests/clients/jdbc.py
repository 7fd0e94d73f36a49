"""The JDBC driver against the warehouse, in a JVM of its own; prints what it saw as one JSON object.

Arguments: the JVM, its class path, host:port, user, password, and the same of a user who writes.
"""

import json
import os
import sys
import threading
from contextlib import closing
from typing import Any

import jpype

KPI = "SELECT grid_id, cases, archived, open, archived / cases AS archived_ratio FROM v_grid_counts WHERE grid_id = ?"
ENDLESS = "SELECT number FROM numbers(100000000000888)"
PROCESSES = (
    "SELECT count() FROM system.processes WHERE startsWith(query, 'SELECT number FROM numbers(100000000000888)')"
)


def rows(result: Any) -> list[list[str]]:
    count = result.getMetaData().getColumnCount()
    found = []
    while result.next():
        found.append([str(result.getString(n + 1)) for n in range(count)])
    return found


class Driver:
    def __init__(self, address: str, user: str, password: str) -> None:
        self._url, self._user, self._password = f"jdbc:clickhouse://{address}/lake", user, password

    def connect(self, **more: str) -> Any:
        properties = jpype.java.util.Properties()
        for name, value in {"user": self._user, "password": self._password, **more}.items():
            properties.setProperty(name, value)
        return closing(jpype.JClass("com.clickhouse.jdbc.Driver")().connect(self._url, properties))

    def ask(self, text: str, **more: str) -> list[list[str]]:
        with self.connect(**more) as connection:
            return rows(connection.createStatement().executeQuery(text))


def kpi(reader: Driver) -> list[list[str]]:
    with reader.connect() as connection:
        statement = connection.prepareStatement(KPI)
        statement.setString(1, "610117001001001")
        return rows(statement.executeQuery())


def session(writer: Driver) -> list[list[str]]:
    with writer.connect(clickhouse_setting_session_id="jdbc") as connection:
        statement = connection.createStatement()
        statement.execute("CREATE TEMPORARY TABLE mine (a UInt8)")
        statement.execute("INSERT INTO mine VALUES (7)")
        return rows(statement.executeQuery("SELECT a FROM mine"))


def streamed(reader: Driver, **compression: str) -> dict[str, int]:
    with reader.connect(**compression) as connection:
        result = connection.createStatement().executeQuery("SELECT number FROM numbers(100000)")
        count = total = 0
        while result.next():
            count += 1
            total += int(result.getLong(1))
        return {"count": count, "sum": total}


def inserted(writer: Driver) -> list[list[str]]:
    with writer.connect(decompress="true") as connection:
        statement = connection.prepareStatement("INSERT INTO from_jdbc (a, s) VALUES (?, ?)")
        for a in range(2000):
            statement.setInt(1, a)
            statement.setString(2, "网格")
            statement.addBatch()
        statement.executeBatch()
    return writer.ask("SELECT count(), sum(a), any(s) FROM from_jdbc")


def broken(reader: Driver) -> str:
    query = "SELECT throwIf(number = 200000), number FROM numbers(400000)"
    try:
        with reader.connect() as connection:
            result = connection.createStatement().executeQuery(query)
            while result.next():
                pass
    except jpype.java.sql.SQLException as error:
        return str(error.toString()) + str(error.getCause())
    return "ended as if it were whole"


def cancelled(reader: Driver, writer: Driver) -> str:
    """Cancel from another thread, as tools do; the driver asks the server to kill the query by its id."""
    with reader.connect() as connection:
        statement = connection.createStatement()
        result = statement.executeQuery(ENDLESS)
        assert processes(writer) == 1
        canceller = threading.Thread(target=statement.cancel)
        canceller.start()
        try:
            while result.next():
                pass
        except jpype.java.sql.SQLException as error:
            return str(error.toString()) + str(error.getCause())
        finally:
            canceller.join()
    return "ended as if it were whole"


def processes(writer: Driver) -> int:
    return int(writer.ask(PROCESSES)[0][0])


def main() -> None:
    jvm, class_path, address, user, password, writer_name, writer_password = sys.argv[1:]
    flags = ("-Xmx256m", "--enable-native-access=ALL-UNNAMED")
    jpype.startJVM(jvm, *flags, classpath=class_path.split(os.pathsep), convertStrings=False)
    reader, writer = Driver(address, user, password), Driver(address, writer_name, writer_password)
    print(
        json.dumps(
            {
                "kpi": kpi(reader),
                "session": session(writer),
                "framed": streamed(reader),
                "http": streamed(reader, **{"client.use_http_compression": "true"}),
                "plain": streamed(reader, compress="false"),
                "inserted": inserted(writer),
                "broken": broken(reader),
                "cancelled": cancelled(reader, writer),
                "left": processes(writer),
            }
        )
    )


if __name__ == "__main__":
    main()
