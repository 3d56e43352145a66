package store

import (
	"fmt"
	"strings"
)

// query names a prepared statement.
type query int

// The statements. Those before begin only read, and are prepared on the readers
// too.
const (
	selectThread query = iota
	selectBindings
	selectMessage
	selectMessagesUp
	selectMessagesDown
	selectSpanUp
	selectSpanDown
	countMessages
	selectHistory
	selectSeq
	selectKey
	selectRemoteThread
	selectRemoteMessage
	selectAnyMessage
	selectRecord
	selectClaim
	selectUnsettled
	selectEvents
	selectProgress
	selectEventOf
	selectProbe
	selectTenant
	selectTranscript
	selectTakenThread
	selectTaken
	selectErasures
	selectUntouched
	selectDelivery
	selectDeliveryOf
	countPending
	countDead
	selectUses
	selectConversation
	selectInFlight
	selectImport
	selectPersonThread
	selectNews
	selectToldThreads
	selectChores
	selectVendorRecords

	begin
	commit
	rollback
	selectState
	selectDead
	selectPartial
	insertThread
	updateThread
	updateThreadCount
	updateThreadBindings
	updateThreadSettled
	updateThreadAppended
	updateThreadImported
	updateThreadContinued
	deleteThread
	insertTag
	deleteTags
	insertBinding
	updateBinding
	insertMessage
	updateMessage
	updateOutcome
	updateAgain
	settleMessage
	countAttempts
	settleUnknown
	postponeMessage
	completeReply
	linkReply
	nextSeq
	insertEvents
	appendEvents
	updatePartial
	insertSend
	updateSend
	renewSends
	deleteSend
	insertAttempt
	updateAttempt
	insertKey
	updateKey
	clearKeys
	deleteKeys
	insertRecord
	updateRecord
	insertClaim
	updateCarry
	updateProbe
	selectToldBefore
	selectNewest
	insertNews
	deleteNews
	selectChore
	insertChore
	claimChore
	deleteChore
	endChore
	insertVendorRecord
	deleteVendorRecords
	insertErasure
	postponeErasure
	deleteErasure
	thinMessages
	thinEvents
	moveMessages
	settleMoved
	saveImport
	deleteImport
	insertDelivery
	claimDeliveries
	endDelivery
	reviveDelivery
	deleteDelivered
	deleteDead
	deleteOrphans
	freeDeliveries

	queryCount
)

// Parts that several statements share. With a thread come its newest binding (most
// threads have no other) and the send that holds it.
const (
	bindingColumns = `COALESCE(b.backend, ''), COALESCE(b.vendor, ''), COALESCE(b.bot, ''), COALESCE(b.remote_id, ''),
		COALESCE(b.remote_user, ''), COALESCE(b.since, 0), COALESCE(b.until, 0), COALESCE(b.reason, '')`
	threadColumns = `t.id, t.tenant, t.asked, t.backend, t.route, t.user_id, t.mode, t.status, t.title, t.tags, t.doc, t.carry,
		t.message_count, t.version, t.created_at, t.updated_at, COALESCE(s.until - {now}, 0),
		t.binding_count, ` + bindingColumns
	threadTables = `threads t LEFT JOIN bindings b ON b.thread_id = t.id AND b.seq = t.binding_count LEFT JOIN sends s ON s.thread_id = t.id`

	messageColumns = `m.seq, m.id, m.thread_id, m.role, m.type, m.status, m.reason, m.text, m.backend, m.remote_id,
		m.in_reply_to, m.doc, m.created_at`
	messageTables = `messages m JOIN threads t ON t.id = m.thread_id`

	deliveryColumns = `id, tenant, endpoint, topic, thread_id, message_id, status, tries, due, response, failure,
		tried_at, created_at`
)

// uncertain holds for an attempt x after which a vendor may have the message: bytes of
// it may have left, and the vendor did not turn it away. An attempt without an outcome,
// and one whose run died, are among them.
const uncertain = `(x.ended_at = 0 OR x.kind = '` + reasonInterrupted + `' OR x.phase > 0 AND x.kind NOT IN
	('', 'rejected', 'unauthorized', 'quota', 'rate_limited', 'overloaded'))`

// queries are written for SQLite and PostgreSQL alike. What the two do not agree on
// is named in braces: {now} is the database's clock, in milliseconds; {lock} keeps
// other writers off the thread t, and {skip} leaves threads out that they work on.
var queries = [queryCount]string{
	// The vendor's own object is read only where it is asked for: it can be large.
	selectThread: `SELECT ` + threadColumns + `, CASE WHEN $3 = 1 THEN t.raw ELSE '' END
		FROM ` + threadTables + ` WHERE t.id = $1 AND t.tenant = $2`,
	selectBindings: `SELECT b.backend, b.vendor, b.bot, b.remote_id, b.remote_user, b.since, b.until, b.reason
		FROM bindings b WHERE b.thread_id = $1 AND b.seq < $2 ORDER BY b.seq`,

	selectMessage: `SELECT ` + messageColumns + `, CASE WHEN $4 = 1 THEN m.raw ELSE '' END
		FROM ` + messageTables + ` WHERE m.id = $1 AND m.thread_id = $2 AND t.tenant = $3`,
	selectMessagesUp: `SELECT ` + messageColumns + `, CASE WHEN $5 = 1 THEN m.raw ELSE '' END
		FROM ` + messageTables + ` WHERE m.thread_id = $1 AND t.tenant = $2 AND m.seq > $3 ORDER BY m.seq LIMIT $4`,
	selectMessagesDown: `SELECT ` + messageColumns + `, CASE WHEN $5 = 1 THEN m.raw ELSE '' END
		FROM ` + messageTables + ` WHERE m.thread_id = $1 AND t.tenant = $2 AND m.seq < $3 ORDER BY m.seq DESC LIMIT $4`,
	selectSpanUp: `SELECT ` + messageColumns + `, '' FROM ` + messageTables + `
		WHERE m.thread_id = $1 AND t.tenant = $2 AND ($3 = 0 OR m.role <> 'system') ORDER BY m.seq LIMIT $4 OFFSET $5`,
	selectSpanDown: `SELECT ` + messageColumns + `, '' FROM ` + messageTables + `
		WHERE m.thread_id = $1 AND t.tenant = $2 AND ($3 = 0 OR m.role <> 'system') ORDER BY m.seq DESC LIMIT $4 OFFSET $5`,
	countMessages: `SELECT COUNT(*) FROM ` + messageTables + ` WHERE m.thread_id = $1 AND t.tenant = $2 AND ($3 = 0 OR m.role <> 'system')`,
	selectHistory: `SELECT ` + messageColumns + `, ''
		FROM ` + messageTables + ` WHERE m.thread_id = $1 AND t.tenant = $2 AND m.seq < $3
		AND m.status IN ('sent', 'complete') AND m.role <> 'system' ORDER BY m.seq DESC LIMIT $4`,
	selectSeq: `SELECT m.seq FROM ` + messageTables + ` WHERE m.id = $1 AND m.thread_id = $2 AND t.tenant = $3`,

	// A key runs as long as its message is being sent.
	selectKey: `SELECT k.path, k.body_hash, k.thread_id, k.message_id, k.status, k.body, COALESCE(m.status, ''), COALESCE(s.until - {now}, 0)
		FROM idempotency_keys k
		LEFT JOIN messages m ON m.id = k.message_id
		LEFT JOIN sends s ON s.thread_id = k.thread_id AND s.message_id = k.message_id
		WHERE k.tenant = $1 AND k.key = $2`,
	// Of a message's attempts the last counts. Where several conversations with its
	// backend have been since, none is named: nobody knows which of them has it.
	selectUnsettled: `SELECT ` + messageColumns + `, '', t.tenant, a.backend, a.started_at, a.ended_at, (SELECT COUNT(*) FROM attempts x
			WHERE x.thread_id = m.thread_id AND x.message_id = m.id), m.settle_tries, ` + bindingColumns + `
		FROM ` + messageTables + `
		JOIN attempts a ON a.thread_id = m.thread_id AND a.id = (SELECT CASE WHEN COUNT(DISTINCT x.backend) = 1 THEN MAX(x.id) END FROM attempts x
			WHERE x.thread_id = m.thread_id AND x.message_id = m.id AND ` + uncertain + `)
		LEFT JOIN bindings b ON b.thread_id = m.thread_id AND b.seq = (SELECT CASE WHEN COUNT(*) = 1 THEN MIN(y.seq) END FROM bindings y
			WHERE y.thread_id = m.thread_id AND y.backend = a.backend AND (y.until = 0 OR y.until > a.started_at))
		WHERE m.status = 'unknown' AND m.role = 'user' AND m.settle_after <= $1 AND a.started_at < $2
		AND NOT EXISTS (SELECT 1 FROM sends s WHERE s.thread_id = m.thread_id)
		ORDER BY m.settle_after, m.id LIMIT $3`,
	selectEvents: `SELECT e.seq, e.doc FROM events e WHERE e.thread_id = $1 AND e.seq > $2 ORDER BY e.seq LIMIT $3`,
	selectEventOf: `SELECT COALESCE(MAX(e.seq), 0) FROM events e JOIN threads t ON t.id = e.thread_id
		WHERE e.thread_id = $1 AND t.tenant = $2 AND e.doc = $3`,
	selectProgress: `SELECT COALESCE((SELECT MAX(e.seq) FROM events e WHERE e.thread_id = t.id), 0), COALESCE(s.message_id, ''), COALESCE(s.partial, '')
		FROM threads t LEFT JOIN sends s ON s.thread_id = t.id WHERE t.id = $1`,
	// Who holds, or held, a conversation of a vendor's; of several the last one.
	selectRemoteThread: `SELECT b.thread_id, t.tenant FROM bindings b JOIN threads t ON t.id = b.thread_id
		WHERE b.vendor = $1 AND b.bot = $2 AND b.remote_id = $3 AND b.remote_id <> '' AND ($4 = '' OR t.tenant = $4)
		ORDER BY b.since DESC, b.thread_id LIMIT 1`,
	selectAnyMessage: `SELECT ` + messageColumns + `, '' FROM ` + messageTables + ` WHERE m.id = $1 AND t.tenant = $2`,
	selectRemoteMessage: `SELECT ` + messageColumns + `, '' FROM ` + messageTables + `
		WHERE m.remote_id = $1 AND m.remote_id <> '' AND t.tenant = $2 ORDER BY m.created_at DESC, m.id LIMIT 1`,
	selectRecord: `SELECT r.value, COALESCE(r.thread_id, '') FROM records r WHERE r.tenant = $1 AND r.dialect = $2 AND r.name = $3`,
	selectClaim: `SELECT COALESCE(c.thread_id, ''), COALESCE(t.tenant, '') FROM claims c LEFT JOIN threads t ON t.id = c.thread_id
		WHERE c.vendor = $1 AND c.bot = $2 AND c.kind = $3 AND c.remote_id = $4`,
	selectProbe: `SELECT at FROM probe WHERE id = 1`,

	selectTenant: `SELECT t.tenant FROM threads t WHERE t.tenant > $1 ORDER BY t.tenant LIMIT 1`,
	selectTranscript: `SELECT ` + messageColumns + `, m.raw, t.version
		FROM ` + messageTables + ` WHERE m.thread_id = $1 AND t.tenant = $2 AND m.seq > $3 AND m.seq <= $4
		AND m.created_at >= $5 AND m.created_at < $6 ORDER BY m.seq LIMIT $7`,
	// These two ask about the ids of all tenants, which are unique among them.
	selectTakenThread: `SELECT 1 FROM threads t WHERE t.id = $1`,
	// Each id is looked up by itself: of a list of them PostgreSQL would read the whole
	// table, by the plan that it made while that was empty.
	selectTaken: `SELECT 1 WHERE ` + anyMessage(takenBatch),
	selectErasures: `SELECT e.thread_id, e.seq, e.tenant, e.backend, e.vendor, e.bot, e.remote_id, e.remote_user, e.tries, e.created_at
		FROM erasures e WHERE e.due <= $1 ORDER BY e.due, e.thread_id, e.seq LIMIT $2`,
	selectUntouched: `SELECT t.id FROM threads t WHERE t.tenant = $1 AND t.updated_at < $2
		AND NOT EXISTS (SELECT 1 FROM sends s WHERE s.thread_id = t.id) ORDER BY t.updated_at, t.id LIMIT $3`,

	// Texts are not read: of a large store they are the most.
	selectUses: `SELECT m.seq, m.id, m.thread_id, m.role, m.type, m.status, m.reason, '', m.backend, m.remote_id,
		m.in_reply_to, m.doc, m.created_at, '', octet_length(m.text)
		FROM ` + messageTables + ` WHERE t.tenant = $1 AND t.backend = $2 AND m.thread_id >= $3 AND m.thread_id <= $4
		AND (m.thread_id > $5 OR m.seq > $6) ORDER BY m.thread_id, m.seq LIMIT $7`,

	selectConversation: `SELECT t.tenant, t.id FROM bindings b JOIN threads t ON t.id = b.thread_id
		WHERE b.vendor = $1 AND b.bot = $2 AND b.remote_id = $3 AND b.remote_id <> '' ORDER BY t.id LIMIT 1`,
	selectInFlight: `SELECT COUNT(*) FROM sends s JOIN attempts a ON a.thread_id = s.thread_id AND a.id = s.attempt_id
		WHERE a.backend = $1 AND a.started_at <= $2 AND s.until > {now}`,
	selectImport: `SELECT i.cursor, i.report, i.updated_at FROM imports i WHERE i.tenant = $1 AND i.id = $2`,
	selectPersonThread: `SELECT b.thread_id, t.tenant FROM bindings b JOIN threads t ON t.id = b.thread_id
		WHERE b.vendor = $1 AND b.bot = $2 AND b.remote_user = $3 AND b.remote_user <> ''
		ORDER BY b.since DESC, b.thread_id LIMIT 1`,
	selectNews: `SELECT n.position, n.doc FROM news n JOIN threads t ON t.id = n.thread_id
		WHERE n.thread_id = $1 AND t.tenant = $2 ORDER BY n.position`,
	// Book-keeping over all tenants, as are the chores.
	selectToldThreads: `SELECT DISTINCT n.thread_id, t.tenant FROM news n JOIN threads t ON t.id = n.thread_id
		WHERE NOT EXISTS (SELECT 1 FROM sends s WHERE s.thread_id = n.thread_id) ORDER BY n.thread_id LIMIT $1`,
	selectChores: `SELECT c.thread_id, t.tenant, c.kind, c.message_id, c.backend, c.tries, c.due, c.created_at
		FROM chores c JOIN threads t ON t.id = c.thread_id
		WHERE c.due <= $1 AND NOT EXISTS (SELECT 1 FROM sends s WHERE s.thread_id = c.thread_id) ORDER BY c.due, c.thread_id LIMIT $2`,
	selectVendorRecords: `SELECT r.id, COALESCE(r.thread_id, ''), r.raw, r.received_at FROM vendor_records r
		WHERE r.vendor = $1 AND r.bot = $2 AND r.kind = $3 AND r.id > $4 ORDER BY r.id LIMIT $5`,
	// The clock is read once, in a query of its own: so the index ends where what is due ends.
	selectDelivery:   `SELECT d.id FROM deliveries d WHERE d.endpoint = $1 AND d.status = 'pending' AND d.due <= (SELECT {now}) LIMIT 1`,
	selectDeliveryOf: `SELECT ` + deliveryColumns + ` FROM deliveries d WHERE d.id = $1 AND d.tenant = $2`,
	countPending:     `SELECT d.endpoint, COUNT(*), MIN(d.created_at) FROM deliveries d WHERE d.status = 'pending' GROUP BY d.endpoint`,
	countDead:        `SELECT d.endpoint, COUNT(*) FROM deliveries d WHERE d.status = 'dead' GROUP BY d.endpoint`,

	begin:    `{begin}`,
	commit:   `COMMIT`,
	rollback: `ROLLBACK`,

	// What a writer has to know of a thread before it writes.
	selectState: `SELECT t.version, t.touched, t.last_seq, COALESCE((SELECT MAX(e.seq) FROM events e WHERE e.thread_id = t.id), 0),
		t.tags, t.binding_count, ` + bindingColumns + `,
		COALESCE(s.epoch, ''), COALESCE(s.until - {now}, 0), COALESCE(s.message_id, ''), COALESCE(s.attempt_id, '')
		FROM ` + threadTables + ` WHERE t.id = $1 AND t.tenant = $2{lock}`,
	selectPartial: `SELECT s.partial FROM sends s WHERE s.thread_id = $1`,
	selectDead: `SELECT s.thread_id, s.message_id, s.attempt_id FROM sends s JOIN threads t ON t.id = s.thread_id
		WHERE s.until - {now} <= $1 ORDER BY s.thread_id LIMIT $2{skip}`,

	insertThread: `INSERT INTO threads (id, tenant, backend, route, user_id, mode, status, title, tags, doc, raw, carry,
		message_count, last_seq, binding_count, version, touched, created_at, updated_at, asked)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '', 0, 0, 0, 1, 0, $12, $13, $14) ON CONFLICT (id) DO NOTHING`,
	updateThread: `UPDATE threads SET backend = $2, route = $3, user_id = $4, mode = $5, status = $6, title = $7, tags = $8, doc = $9,
		raw = CASE WHEN $10 = '' THEN raw ELSE $10 END, carry = $11, message_count = message_count + $12, last_seq = $13,
		binding_count = $14, version = $15, touched = $16, updated_at = $17 WHERE id = $1`,
	updateThreadCount:     `UPDATE threads SET message_count = message_count + 1, last_seq = $2, version = $3, updated_at = $4 WHERE id = $1`,
	updateThreadBindings:  `UPDATE threads SET binding_count = $2, version = version + 1 WHERE id = $1`,
	updateThreadSettled:   `UPDATE threads SET version = version + 1, updated_at = $2 WHERE id = $1`,
	updateThreadAppended:  `UPDATE threads SET message_count = message_count + $2, last_seq = $3, version = $4, updated_at = $5 WHERE id = $1`,
	updateThreadImported:  `UPDATE threads SET message_count = $2, last_seq = $2, carry = $3 WHERE id = $1`,
	updateThreadContinued: `UPDATE threads SET message_count = message_count + $2, last_seq = last_seq + $2, version = version + 1 WHERE id = $1`,
	deleteThread:          `DELETE FROM threads WHERE id = $1 AND tenant = $2`,

	insertTag:  `INSERT INTO thread_tags (tenant, value, thread_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
	deleteTags: `DELETE FROM thread_tags WHERE thread_id = $1`,

	insertBinding: `INSERT INTO bindings (thread_id, seq, backend, vendor, bot, remote_id, remote_user, since, until, reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
	updateBinding: `UPDATE bindings SET remote_id = $3, remote_user = $4, until = $5, reason = $6 WHERE thread_id = $1 AND seq = $2`,

	insertMessage: `INSERT INTO messages (thread_id, seq, id, role, type, status, reason, text, backend, remote_id,
		in_reply_to, doc, raw, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
	updateMessage: `UPDATE messages SET role = $3, type = $4, status = $5, reason = $6, text = $7, backend = $8, remote_id = $9,
		in_reply_to = $10, doc = $11, raw = CASE WHEN $12 = '' THEN raw ELSE $12 END WHERE id = $1 AND thread_id = $2`,
	updateOutcome: `UPDATE messages SET status = $3, reason = $4, backend = $5, remote_id = $6, doc = $7,
		raw = CASE WHEN $8 = '' THEN raw ELSE $8 END WHERE id = $1 AND thread_id = $2`,
	updateAgain: `UPDATE messages SET status = $3, reason = $4, backend = $5, settle_after = 0, settle_tries = 0
		WHERE id = $1 AND thread_id = $2`,
	settleMessage: `UPDATE messages SET status = CASE WHEN $3 = 'failed' AND EXISTS (SELECT 1 FROM attempts x
			WHERE x.thread_id = $2 AND x.message_id = $1 AND ` + uncertain + `) THEN 'unknown' ELSE $3 END, reason = $4
		WHERE id = $1 AND thread_id = $2 AND status = 'pending' RETURNING status`,
	countAttempts: `SELECT COUNT(*) FROM attempts WHERE thread_id = $1 AND message_id = $2`,

	settleUnknown: `UPDATE messages SET status = $3, reason = $4, remote_id = $5, raw = CASE WHEN $6 = '' THEN raw ELSE $6 END
		WHERE id = $1 AND thread_id = $2`,
	postponeMessage: `UPDATE messages SET settle_after = $4, settle_tries = settle_tries + 1
		WHERE id = $1 AND thread_id = $2 AND status = 'unknown' AND thread_id IN (SELECT t.id FROM threads t WHERE t.tenant = $3)`,

	completeReply: `UPDATE messages SET status = 'complete', reason = '', type = $3, text = $4, remote_id = $5, doc = $6, raw = $7
		WHERE thread_id = $1 AND in_reply_to = $2 AND status = 'incomplete' RETURNING id`,
	linkReply: `UPDATE messages SET in_reply_to = $3 WHERE thread_id = $1 AND seq = $2 AND in_reply_to = ''`,
	nextSeq:   `UPDATE threads SET message_count = message_count + 1, last_seq = last_seq + 1 WHERE id = $1 RETURNING last_seq`,

	insertEvents: `INSERT INTO events (thread_id, seq, doc) VALUES ($1, $2, $3)`,
	appendEvents: `INSERT INTO events (thread_id, seq, doc)
		SELECT $1, COALESCE(MAX(e.seq), 0) + $2, $3 FROM events e WHERE e.thread_id = $1`,
	updatePartial: `UPDATE sends SET partial = $3 WHERE thread_id = $1 AND epoch = $2`,

	insertSend: `INSERT INTO sends (thread_id, epoch, until, message_id, attempt_id) VALUES ($1, $2, {now} + $3, $4, $5)`,
	updateSend: `UPDATE sends SET attempt_id = $3 WHERE thread_id = $1 AND epoch = $2`,
	renewSends: `UPDATE sends SET until = {now} + $1 WHERE epoch IN (` + parameters(2, renewBatch) + `) RETURNING epoch`,
	deleteSend: `DELETE FROM sends WHERE thread_id = $1`,

	insertAttempt: `INSERT INTO attempts (thread_id, id, message_id, backend, epoch, kind, phase, started_at, ended_at)
		VALUES ($1, $2, $3, $4, $5, '', 0, $6, 0)`,
	updateAttempt: `UPDATE attempts SET kind = $3, phase = $4, ended_at = $5 WHERE thread_id = $1 AND id = $2 AND ended_at = 0`,

	insertKey: `INSERT INTO idempotency_keys (tenant, key, path, body_hash, thread_id, message_id, status, body, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8)`,
	updateKey: `UPDATE idempotency_keys SET status = $4, body = $5 WHERE tenant = $1 AND key = $2 AND message_id = $3`,
	clearKeys: `UPDATE idempotency_keys SET status = 0, body = $3 WHERE thread_id = $1 AND message_id = $2`,
	// A key whose send still runs stays, however old it is: without it a repeat
	// would run beside the first.
	deleteKeys: `DELETE FROM idempotency_keys WHERE (tenant, key) IN (
		SELECT k.tenant, k.key FROM idempotency_keys k WHERE k.created_at < $1
		AND NOT EXISTS (SELECT 1 FROM sends s WHERE s.thread_id = k.thread_id AND s.message_id = k.message_id)
		ORDER BY k.created_at LIMIT $2)`,

	insertRecord: `INSERT INTO records (tenant, dialect, name, thread_id, value) VALUES ($1, $2, $3, NULLIF($4, ''), $5)
		ON CONFLICT (tenant, dialect, name) DO NOTHING`,
	updateRecord: `UPDATE records SET thread_id = NULLIF($4, ''), value = $5 WHERE tenant = $1 AND dialect = $2 AND name = $3`,
	insertClaim:  `INSERT INTO claims (vendor, bot, kind, remote_id, thread_id) VALUES ($1, $2, $3, $4, NULLIF($5, '')) ON CONFLICT DO NOTHING`,
	updateCarry:  `UPDATE threads SET carry = $2 WHERE id = $1`,

	updateProbe: `UPDATE probe SET at = $1 WHERE id = 1`,

	selectToldBefore: `SELECT m.seq FROM ` + messageTables + ` WHERE m.thread_id = $1 AND t.tenant = $2 AND m.remote_id = $3 LIMIT 1`,
	selectNewest: `SELECT ` + messageColumns + `, ''
		FROM ` + messageTables + ` WHERE m.thread_id = $1 AND t.tenant = $2 ORDER BY m.seq DESC LIMIT $3`,
	insertNews: `INSERT INTO news (thread_id, position, digest, doc)
		SELECT $1, COALESCE(MAX(n.position), 0) + 1, $2, $3 FROM news n WHERE n.thread_id = $1 ON CONFLICT DO NOTHING`,
	deleteNews:  `DELETE FROM news WHERE thread_id = $1 AND position = $2`,
	selectChore: `SELECT c.message_id, c.backend FROM chores c WHERE c.thread_id = $1 AND c.kind = $2`,
	insertChore: `INSERT INTO chores (thread_id, kind, message_id, backend, tries, due, created_at) VALUES ($1, $2, $3, $4, 0, $5, $6)
		ON CONFLICT (thread_id, kind) DO UPDATE SET message_id = $3, backend = $4, tries = 0, due = $5, created_at = $6`,
	claimChore: `UPDATE chores SET tries = tries + 1, due = $5
		WHERE thread_id = $1 AND kind = $2 AND tries = $3 AND created_at = $4 AND thread_id IN (SELECT t.id FROM threads t WHERE t.tenant = $6)`,
	deleteChore: `DELETE FROM chores WHERE thread_id = $1 AND kind = $2`,
	endChore: `DELETE FROM chores WHERE thread_id = $1 AND kind = $2 AND created_at = $3
		AND thread_id IN (SELECT t.id FROM threads t WHERE t.tenant = $4)`,
	insertVendorRecord: `INSERT INTO vendor_records (vendor, bot, kind, id, thread_id, raw, received_at)
		VALUES ($1, $2, $3, $4, NULLIF($5, ''), $6, $7) ON CONFLICT DO NOTHING`,
	deleteVendorRecords: `DELETE FROM vendor_records WHERE received_at < $1`,

	insertErasure: `INSERT INTO erasures (thread_id, seq, tenant, backend, vendor, bot, remote_id, remote_user, tries, due, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10)
		ON CONFLICT (thread_id, seq) DO UPDATE SET tenant = $3, backend = $4, vendor = $5, bot = $6, remote_id = $7, remote_user = $8,
		tries = 0, due = $9, created_at = $10`,
	postponeErasure: `UPDATE erasures SET tries = tries + 1, due = $5 WHERE thread_id = $1 AND seq = $2 AND tenant = $3 AND tries = $4`,
	deleteErasure:   `DELETE FROM erasures WHERE thread_id = $1 AND seq = $2 AND tenant = $3`,
	thinMessages: `DELETE FROM messages WHERE thread_id = $1 AND seq IN (
		SELECT m.seq FROM messages m WHERE m.thread_id = $1 ORDER BY m.seq LIMIT $2)`,
	thinEvents: `DELETE FROM events WHERE thread_id = $1 AND seq IN (
		SELECT v.seq FROM events v WHERE v.thread_id = $1 ORDER BY v.seq LIMIT $2)`,

	moveMessages: `UPDATE messages SET seq = -(seq + $3) WHERE thread_id = $1 AND seq > $2`,
	settleMoved:  `UPDATE messages SET seq = -seq WHERE thread_id = $1 AND seq < 0`,
	saveImport: `INSERT INTO imports (tenant, id, cursor, report, updated_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant, id) DO UPDATE SET cursor = $3, report = $4, updated_at = $5`,
	deleteImport: `DELETE FROM imports WHERE tenant = $1 AND id = $2`,
	insertDelivery: `INSERT INTO deliveries (id, tenant, endpoint, topic, thread_id, message_id, status, tries, due, owner, response, failure,
		tried_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, 'pending', 0, {now}, '', 0, '', 0, {now})`,
	claimDeliveries: `WITH mine AS MATERIALIZED (SELECT t.id FROM deliveries t WHERE t.endpoint = $3 AND t.status = 'pending'
		AND t.due <= (SELECT {now}) ORDER BY t.due LIMIT $4{skip})
		UPDATE deliveries SET owner = $1, due = {now} + $2, tries = tries + 1, tried_at = {now}
		WHERE id IN (SELECT mine.id FROM mine) RETURNING ` + deliveryColumns,
	endDelivery: `UPDATE deliveries SET status = $3, due = {now} + $4, owner = '', response = $5, failure = $6, tried_at = {now}
		WHERE id = $1 AND owner = $2`,
	reviveDelivery: `UPDATE deliveries SET status = 'pending', due = {now}, tries = 0, owner = ''
		WHERE id = $1 AND tenant = $2 AND (owner = '' OR due <= {now})`,
	deleteDelivered: `DELETE FROM deliveries WHERE id IN (SELECT d.id FROM deliveries d
		WHERE d.status = 'delivered' AND d.tried_at < $1 ORDER BY d.tried_at LIMIT $2)`,
	deleteDead: `DELETE FROM deliveries WHERE id IN (SELECT d.id FROM deliveries d
		WHERE d.status = 'dead' AND d.tried_at < $1 ORDER BY d.tried_at LIMIT $2)`,
	deleteOrphans: `DELETE FROM deliveries WHERE id IN (SELECT d.id FROM deliveries d
		WHERE d.status = 'pending' AND d.due < $1 LIMIT $2)`,
	freeDeliveries: `UPDATE deliveries SET owner = '', due = {now} WHERE status = 'pending' AND owner <> ''`,
}

// anyMessage holds where there is a message with one of n ids.
func anyMessage(n int) string {
	conditions := make([]string, n)
	for i := range conditions {
		conditions[i] = fmt.Sprintf("EXISTS (SELECT 1 FROM messages m WHERE m.id = $%d)", i+1)
	}
	return strings.Join(conditions, " OR ")
}

// parameters names n of them, from $first on.
func parameters(first, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ", $%d", first+i)
	}
	return b.String()[len(", "):]
}
