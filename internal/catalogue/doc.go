// Package catalogue puts every promise about faults to the test, from outside: the
// real program, built with the race detector, between clients that misbehave and
// simulated vendors that misbehave worse. A fault is a row, a row is a subtest, and
// the row's id is in the subtest's name:
//
//	go test ./internal/catalogue -run TestFaults/U06
//
// Each row has a process, vendors, ports and a folder of its own, and looks in three
// places: at the answer, at what is stored (through the API and by SQL), and at what
// the vendors received. After each row nothing may be left over: nothing in flight,
// no goroutine, no descriptor, no secret in log, metrics or database.
//
// The rows are in groups: U faults of vendors, S streams, R breakers, retries and
// fallback, C input, I idempotency, A attacks, G configuration, D storage, O
// overload, P crash and restart, W webhooks, M several replicas on one database. What a
// quick run leaves out is behind the build tag soak:
//
//	go test -tags soak -run Soak -timeout 0 ./internal/catalogue
package catalogue
