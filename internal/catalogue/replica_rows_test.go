//go:build linux

package catalogue

// postgresOnly is for rows about a server, and about several programs on one.
var postgresOnly = []string{"postgres"}

// replicaRows are several programs on one PostgreSQL database, with nothing else
// between them.
var replicaRows = []row{
	{id: "M01", promise: "one_key_on_two_replicas_at_once_runs_once", run: m01, stores: postgresOnly},
	{id: "M02", promise: "a_killed_owner_is_waited_for_until_its_lease_ends", run: m02, stores: postgresOnly},
	{id: "M03", promise: "a_rolling_restart_fails_nothing", run: m03, stores: postgresOnly},
	{id: "M04", promise: "leases_go_by_the_databases_clock", tier: inside, because: "internal/store TestM04LeasesGoByTheDatabasesClock"},
	{id: "M05", promise: "what_clients_saw_can_be_put_in_one_order", run: m05, stores: postgresOnly},
	{id: "M06", promise: "each_replica_keeps_the_rate_by_itself", run: m06, stores: postgresOnly},
	{id: "M07", promise: "a_lost_notice_is_caught_up", run: m07, stores: postgresOnly},
}
