package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/internal/backend"
	"chatmux/internal/migration"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// The pace of an import. It is a guest at the vendor: people's messages come first.
const (
	importPage    = 100   // what is asked for at once, of conversations and of messages
	importWorkers = 4     // conversations that are read at once
	importTries   = 8     // of one request
	importPause   = 30    // seconds at most between two of them, where the vendor names none
	importBatch   = 500   // messages that share a commit
	importPages   = 10000 // of one conversation's messages
)

// recentConversation is how old a conversation may be whose first message may still be
// on its way here: as long as a send can take, and more.
const recentConversation = 10 * time.Minute

// ImportRequest says what of a vendor's history is imported.
type ImportRequest struct {
	Backend      string
	Since, Until time.Time // conversations that something happened in between; zero: no bound
	Threads      []string  // the vendor's ids of the conversations; nil: all that it lists
	DryRun       bool
	Progress     func(migration.Import) // called after each conversation, by one goroutine at a time; may be nil
}

// Import reads a vendor's own conversations into the store, as threads of the caller's
// tenant that the backend holds. A conversation that is here already, by whatever
// way it came, is completed and never doubled; what is here and not at the
// vendor stays. The same import done again changes nothing.
//
// It respects the backend's pauses, breaker and limits, and waits for a vendor that
// cannot answer now. How far it came is stored page by page: one that was cut off goes on
// there when it is asked for again. The report is of both runs then, and is filled
// beside an error too. KindUnsupported where the vendor cannot list.
func (e *Engine) Import(ctx context.Context, o Origin, req ImportRequest) (migration.Import, error) {
	end, err := e.begin()
	if err != nil {
		return migration.Import{}, err
	}
	defer end()
	u := e.use()
	defer u.release()
	b := u.byName[req.Backend]
	if b == nil {
		return migration.Import{}, normalize.InvalidField("backend", "there is no backend of this name")
	}
	im := &importing{engine: e, setup: u, backend: b, origin: o, req: req}
	if err := im.resume(ctx); err != nil {
		return im.report, err
	}
	return im.report, im.run(ctx)
}

// importing is one import on its way.
type importing struct {
	engine  *Engine
	setup   *setup
	backend *backend.Backend
	origin  Origin
	req     ImportRequest

	id     string // of what was asked for
	cursor string // of the page that comes next
	route  string // of the threads that are made

	mu     sync.Mutex
	report migration.Import
}

// resume finds out where an earlier run of the same import was cut off.
func (im *importing) resume(ctx context.Context) error {
	b, tenant := im.backend, im.origin.Caller.Tenant
	f := facts(im.origin, normalize.User{}, nil, nil, "")
	f.Backend = b.Name()
	d, err := im.setup.Routes.Decide(f)
	if err != nil {
		return err
	}
	im.route = routeName(d.Route)
	h := sha256.New()
	for _, part := range append([]string{b.Name(), b.Vendor(), b.Bot(), im.req.Since.String(), im.req.Until.String()}, im.req.Threads...) {
		fmt.Fprintf(h, "%d %s ", len(part), part)
	}
	im.id = hex.EncodeToString(h.Sum(nil)[:16])
	im.reset()
	if im.req.DryRun {
		return nil
	}
	var mark store.ImportMark
	var found bool
	err = storing(ctx, func() (err error) {
		mark, found, err = im.engine.store.ImportMark(ctx, tenant, im.id)
		return err
	})
	if err != nil {
		return im.engine.storeError(err)
	}
	if found && json.Unmarshal(mark.Report, &im.report) == nil {
		im.cursor, im.report.Resumed = mark.Cursor, true
	}
	return nil
}

func (im *importing) reset() {
	im.cursor = ""
	im.report = migration.Import{
		Object: "import", Backend: im.backend.Name(), Tenant: im.origin.Caller.Tenant, DryRun: im.req.DryRun,
		Skipped: []migration.Tally{}, NotKept: []migration.Tally{},
	}
}

// run goes through the pages. After each of them it is durable how far it came.
func (im *importing) run(ctx context.Context) error {
	for first := true; ; first = false {
		page, failure := im.nextPage(ctx)
		if failure != nil && first && im.report.Resumed && failure.Kind.Policy().Status == http.StatusUnprocessableEntity {
			im.reset() // the vendor does not know the cursor any more: nothing is doubled by beginning anew
			continue
		}
		if failure != nil {
			return failure
		}
		if err := im.each(ctx, page.Threads); err != nil {
			return err
		}
		if im.cursor = page.NextCursor; im.cursor == "" {
			break
		}
		if err := im.save(ctx); err != nil {
			return err
		}
	}
	if im.req.DryRun {
		return nil
	}
	err := storing(ctx, func() error { return im.engine.store.EndImport(ctx, im.origin.Caller.Tenant, im.id) })
	if err != nil {
		return im.engine.storeError(err)
	}
	return nil
}

func (im *importing) save(ctx context.Context) error {
	if im.req.DryRun {
		return nil
	}
	report, err := json.Marshal(im.report)
	if err != nil {
		return err
	}
	mark := store.ImportMark{Tenant: im.origin.Caller.Tenant, ID: im.id, Cursor: im.cursor, Report: report, At: now()}
	if err := storing(ctx, func() error { return im.engine.store.SaveImportMark(ctx, mark) }); err != nil {
		return im.engine.storeError(err)
	}
	return nil
}

// nextPage gives the conversations that come next: what the vendor lists, or what was
// asked for by name.
func (im *importing) nextPage(ctx context.Context) (page adapters.ThreadPage, failure *normalize.Error) {
	if im.req.Threads != nil {
		begin, _ := strconv.Atoi(im.cursor) // of the first page: 0
		end := min(begin+importPage, len(im.req.Threads))
		for _, id := range im.req.Threads[min(begin, end):end] {
			page.Threads = append(page.Threads, adapters.RemoteThread{Remote: normalize.Remote{ThreadID: id}})
		}
		if end < len(im.req.Threads) {
			page.NextCursor = strconv.Itoa(end)
		}
		return page, nil
	}
	failure = im.engine.patiently(ctx, func() *normalize.Error {
		got, able, failure := im.backend.ListThreads(ctx, adapters.Page{Cursor: im.cursor, Limit: importPage})
		if !able {
			return im.unable("its vendor does not list conversations: give their ids")
		}
		page = got
		return failure
	})
	if failure == nil && page.NextCursor != "" && page.NextCursor == im.cursor {
		failure = &normalize.Error{Kind: normalize.KindInvalidReply, Backend: im.backend.Name(), Detail: "the backend's list names itself as its next page"}
	}
	return page, failure
}

func (im *importing) unable(why string) *normalize.Error {
	return &normalize.Error{Kind: normalize.KindUnsupported, Backend: im.backend.Name(), Detail: why}
}

// patiently asks a vendor that cannot answer now again, as often and as late as it
// makes sense. Reading twice does no harm, so every such failure may be tried again.
func (e *Engine) patiently(ctx context.Context, ask func() *normalize.Error) *normalize.Error {
	for try := 0; ; try++ {
		failure := ask()
		if failure == nil || !passing(failure.Kind) || try == importTries-1 {
			return failure
		}
		wait := max(failure.RetryAfter, time.Second*time.Duration(min(1<<try, importPause)))
		e.log.Info("an import waits for the vendor", zap.String("backend", failure.Backend), zap.Stringer("kind", failure.Kind), zap.Duration("wait", wait))
		if err := sleep(ctx, wait); err != nil {
			return normalize.AsError(err)
		}
	}
}

// passing reports whether a failure to read may be over by itself soon.
func passing(k normalize.Kind) bool {
	switch k {
	case normalize.KindUnreachable, normalize.KindBreakerOpen, normalize.KindCoolingDown, normalize.KindBackendBusy, normalize.KindDisconnected,
		normalize.KindTimeout, normalize.KindRateLimited, normalize.KindOverloaded, normalize.KindVendorFault, normalize.KindTruncated:
		return true
	default:
		return false
	}
}

// each imports the conversations of one page, some at once. A failure that is not of one
// conversation ends the page.
func (im *importing) each(ctx context.Context, list []adapters.RemoteThread) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var working sync.WaitGroup
	jobs := make(chan *adapters.RemoteThread)
	for range min(importWorkers, im.backend.State().MaxInFlight) {
		working.Go(func() {
			for t := range jobs {
				if err := im.conversation(ctx, t); err != nil {
					stop(err)
				}
			}
		})
	}
	for i := range list {
		if ctx.Err() != nil {
			break
		}
		jobs <- &list[i]
	}
	close(jobs)
	working.Wait()
	return context.Cause(ctx)
}

// count changes the report, and tells of it.
func (im *importing) count(change func(*migration.Import)) {
	im.mu.Lock()
	defer im.mu.Unlock()
	change(&im.report)
	if im.req.Progress != nil {
		im.req.Progress(im.report)
	}
}

func (im *importing) skip(reason, remoteID string) error {
	im.count(func(r *migration.Import) {
		r.Conversations++
		r.Skip(reason, remoteID)
	})
	return nil
}

// conversation imports one. An error is one that ends the import.
func (im *importing) conversation(ctx context.Context, t *adapters.RemoteThread) error {
	remoteID := t.Remote.ThreadID
	if im.outside(t.CreatedAt, t.UpdatedAt) {
		return im.skip(outsideOfTime, remoteID)
	}
	listed, failure := im.read(ctx, t)
	switch {
	case failure == nil:
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case ofOneConversation(failure):
		return im.skip(failure.Text(), remoteID)
	default:
		return failure
	}
	dates(t, listed)
	if im.outside(t.CreatedAt, t.UpdatedAt) {
		return im.skip(outsideOfTime, remoteID)
	}
	tale := im.examine(t, listed)
	what, messages, err := im.store(ctx, t, tale.messages)
	if err != nil || what == skipped {
		return err
	}
	im.count(func(r *migration.Import) {
		r.Conversations++
		r.Messages += messages
		switch what {
		case created:
			r.Created++
		case finished:
			r.Completed++
		default:
			r.Unchanged++
		}
		tale.tell(r, remoteID)
	})
	return nil
}

const outsideOfTime = "nothing happened in them in the time that was asked for"

// outside reports whether nothing can have happened between the bounds of the request. A
// time that is not known excludes nothing.
func (im *importing) outside(begin, end time.Time) bool {
	return !im.req.Since.IsZero() && !end.IsZero() && end.Before(im.req.Since) ||
		!im.req.Until.IsZero() && !begin.IsZero() && !begin.Before(im.req.Until)
}

// ofOneConversation reports whether a failure says nothing about others: the vendor
// does not know this conversation any more, or gave something that cannot be read.
func ofOneConversation(failure *normalize.Error) bool {
	switch failure.Kind {
	case normalize.KindRejected, normalize.KindInvalidReply, normalize.KindTooLarge, normalize.KindInvalidRequest:
		return true
	default:
		return false
	}
}

// read gives all messages of a conversation, oldest first, and reads the conversation
// itself where only its id is known.
func (im *importing) read(ctx context.Context, t *adapters.RemoteThread) ([]normalize.Message, *normalize.Error) {
	if im.req.Threads != nil {
		failure := im.engine.patiently(ctx, func() *normalize.Error {
			got, able, failure := im.backend.ReadThread(ctx, t.Remote)
			if able && failure == nil {
				*t = got
			}
			return failure
		})
		if failure != nil {
			return nil, failure
		}
	}
	var pages [][]normalize.Message
	seen := make(map[string]bool)
	for cursor := ""; ; {
		var page adapters.MessagePage
		able := false
		failure := im.engine.patiently(ctx, func() (failure *normalize.Error) {
			page, able, failure = im.backend.ReadMessages(ctx, t.Remote, adapters.Page{Cursor: cursor, Limit: importPage})
			return failure
		})
		switch {
		case failure != nil:
			return nil, failure
		case !able && t.Messages == nil:
			return nil, im.unable("its vendor does not list messages")
		case !able:
			return t.Messages, nil
		}
		pages = append(pages, page.Messages)
		if cursor = page.NextCursor; cursor == "" {
			return inOrder(pages), nil
		}
		if seen[cursor] || len(pages) == importPages {
			return nil, &normalize.Error{Kind: normalize.KindInvalidReply, Backend: im.backend.Name(), Detail: "the backend's list of messages does not end"}
		}
		seen[cursor] = true
	}
}

// inOrder joins pages whose order the vendor does not say; each is in order by itself.
func inOrder(pages [][]normalize.Message) []normalize.Message {
	first := func(page []normalize.Message) time.Time {
		for _, m := range page {
			if !m.CreatedAt.IsZero() {
				return m.CreatedAt
			}
		}
		return time.Time{}
	}
	if !slices.ContainsFunc(pages, func(page []normalize.Message) bool { return first(page).IsZero() }) {
		slices.SortStableFunc(pages, func(a, b []normalize.Message) int { return first(a).Compare(first(b)) })
	}
	return slices.Concat(pages...)
}

// dates fills in when a conversation began and was last touched, from its messages
// where the vendor does not say.
func dates(t *adapters.RemoteThread, listed []normalize.Message) {
	for _, m := range listed {
		if m.CreatedAt.IsZero() {
			continue
		}
		if t.CreatedAt.IsZero() || m.CreatedAt.Before(t.CreatedAt) {
			t.CreatedAt = m.CreatedAt
		}
		if m.CreatedAt.After(t.UpdatedAt) {
			t.UpdatedAt = m.CreatedAt
		}
	}
	if t.CreatedAt.IsZero() {
		t.CreatedAt = t.UpdatedAt
	}
	if t.UpdatedAt.IsZero() {
		t.UpdatedAt = t.CreatedAt
	}
}

// tale is a conversation as it can be kept, and what of it cannot.
type tale struct {
	messages                                             []normalize.Message
	empty, untimed, unnamed, files, odd, humans, persons int
}

// examine makes of a vendor's messages what can be stored.
func (im *importing) examine(t *adapters.RemoteThread, listed []normalize.Message) tale {
	var told tale
	at := t.CreatedAt
	if at.IsZero() {
		at = now()
	}
	for _, m := range listed {
		if m.Text == "" && len(m.Attachments) == 0 && m.Notice == "" {
			told.empty++
			continue
		}
		if m.CreatedAt.IsZero() {
			told.untimed++
			m.CreatedAt = at
		}
		m.CreatedAt = m.CreatedAt.UTC().Truncate(time.Millisecond)
		at = m.CreatedAt
		if m.Role == "" {
			m.Role = normalize.RoleAssistant
		}
		if m.Type == "" {
			m.Type = normalize.TypeText
		}
		if m.RemoteID == "" {
			told.unnamed++
		}
		if m.Type == normalize.TypeOther {
			told.odd++
		}
		if m.Role == normalize.RoleAssistant && !slices.Contains(im.backend.Tells(), string(adapters.ExtraOperators)) {
			told.humans++
		}
		told.files += len(m.Attachments)
		told.messages = append(told.messages, m)
	}
	if t.Remote.UserID == "" {
		told.persons++
	}
	return told
}

// tell counts what could not be kept.
func (told *tale) tell(r *migration.Import, remoteID string) {
	r.Lose("files of attachments", "their links are kept, and lead to the vendor", remoteID, told.files)
	r.Lose("answers, whether a human's or the bot's", "the vendor does not tell: all are stored as the bot's", remoteID, told.humans)
	r.Lose("messages without text", "they have no file and no notice either, so there is nothing to store", remoteID, told.empty)
	r.Lose("times of messages", "the vendor gives none: they have the time of the message before", remoteID, told.untimed)
	r.Lose("the vendor's ids of messages", "it gives none: another import knows them by their texts", remoteID, told.unnamed)
	r.Lose("types of messages", "the vendor's are none of ours: they are stored as other", remoteID, told.odd)
	r.Lose("who the people are", "the vendor names no person", remoteID, told.persons)
}

// What became of a conversation.
type outcome int

const (
	unchanged outcome = iota
	created
	finished
	skipped
)

// store brings a conversation into the store: as a new thread, or into the one that has
// it. It gives how many messages are new.
func (im *importing) store(ctx context.Context, t *adapters.RemoteThread, messages []normalize.Message) (what outcome, added int, err error) {
	e, b := im.engine, im.backend
	waited := false
	for tries := 0; tries < importTries; {
		var tenant, threadID string
		var found bool
		err := storing(ctx, func() (err error) {
			tenant, threadID, found, err = e.store.Conversation(ctx, b.Vendor(), b.Bot(), t.Remote.ThreadID)
			return err
		})
		switch {
		case err != nil:
			return what, added, e.storeError(err)
		case found && tenant != im.origin.Caller.Tenant:
			return skipped, 0, im.skip("another tenant has them", t.Remote.ThreadID)
		case !found && !waited && !im.req.DryRun && (t.CreatedAt.IsZero() || time.Since(t.CreatedAt) < recentConversation):
			// A send may just have begun it, and will say so when it is over.
			if err := im.awaitSends(ctx); err != nil {
				return what, added, err
			}
			waited = true
			continue
		}
		var n int
		var more bool
		err = storing(ctx, func() (err error) {
			if found {
				n, more, err = im.complete(ctx, t, threadID, messages, &what)
			} else if n, more, err = im.create(ctx, t, messages); err == nil {
				what = created
			}
			return err
		})
		added += n
		switch {
		case errors.Is(err, errUnsettled):
			return skipped, 0, im.skip("a message of them is on its way or unknown: import them again later", t.Remote.ThreadID)
		case errors.Is(err, store.ErrChanged):
			tries++ // somebody was faster: look again
		case errors.Is(err, store.ErrBusy):
			tries++
			if err := sleep(ctx, time.Second); err != nil {
				return what, added, err
			}
		case err != nil:
			return what, added, e.storeError(err)
		case !more:
			return what, added, nil
		}
	}
	return skipped, 0, im.skip("they change faster than they can be read: import them again later", t.Remote.ThreadID)
}

var errUnsettled = errors.New("engine: a message of the thread is not settled")

// awaitSends waits for the sends that run at the backend now.
func (im *importing) awaitSends(ctx context.Context) error {
	for moment := now(); ; {
		var running bool
		err := storing(ctx, func() (err error) {
			running, err = im.engine.store.InFlight(ctx, im.backend.Name(), moment)
			return err
		})
		if err != nil {
			return im.engine.storeError(err)
		}
		if !running {
			return nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// storing does something with the store again where the store was away for a moment. All
// that an import writes may be written twice.
func storing(ctx context.Context, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		if !errors.Is(err, store.ErrUnavailable) || try == importTries-1 {
			return err
		}
		if err := sleep(ctx, time.Second*time.Duration(min(1<<try, importPause))); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// create makes a thread of a conversation, with the beginning of its messages.
func (im *importing) create(ctx context.Context, t *adapters.RemoteThread, messages []normalize.Message) (added int, more bool, err error) {
	b := im.backend
	begin, last := t.CreatedAt.UTC().Truncate(time.Millisecond), t.UpdatedAt.UTC().Truncate(time.Millisecond)
	if t.CreatedAt.IsZero() {
		begin, last = now(), now()
	}
	tenant := im.origin.Caller.Tenant
	thread := normalize.Thread{
		ID: importedID(normalize.PrefixThread, begin, tenant, b.Vendor(), b.Bot(), t.Remote.ThreadID), Tenant: tenant, Backend: b.Name(), Route: im.route,
		User: normalize.User{ID: t.Remote.UserID}, Mode: normalize.ModeAI, Status: normalize.ThreadOpen, CreatedAt: begin, UpdatedAt: last,
		Bindings: []normalize.Binding{{Backend: b.Name(), Vendor: b.Vendor(), Bot: b.Bot(), Remote: t.Remote, Since: begin, Reason: "imported"}},
	}
	t.Update.Apply(&thread)
	fresh := align(messages, nil, thread.ID, b.Name()).fresh
	if more = len(fresh) > importBatch; more {
		fresh = fresh[:importBatch]
	}
	if im.req.DryRun {
		return len(messages), false, nil
	}
	arrival := store.Arrival{Thread: store.StoredThread{Thread: thread}}
	for _, f := range fresh {
		arrival.Messages = append(arrival.Messages, f.Message)
	}
	if err := im.engine.store.Import(ctx, []store.Arrival{arrival}); err != nil {
		return 0, false, err
	}
	return len(fresh), more, nil
}

// complete adds to a thread what the vendor has of its conversation and the thread has
// not. What becomes of it is only said where it is not said yet.
func (im *importing) complete(ctx context.Context, t *adapters.RemoteThread, threadID string, messages []normalize.Message, what *outcome) (added int, more bool, err error) {
	e, b, tenant := im.engine, im.backend, im.origin.Caller.Tenant
	thread, err := e.store.Thread(ctx, tenant, threadID, true)
	if err != nil {
		return 0, false, err
	}
	if thread.Busy {
		return 0, false, store.ErrBusy
	}
	stored, err := e.transcript(ctx, tenant, threadID)
	if err != nil {
		return 0, false, err
	}
	for _, m := range stored {
		if m.Backend == b.Name() && (m.Status == normalize.StatusUnknown || m.Status == normalize.StatusPending) {
			return 0, false, errUnsettled
		}
	}
	a := align(messages, stored, threadID, b.Name())
	if more = len(a.fresh) > importBatch; more {
		a.fresh = a.fresh[:importBatch]
	}
	before := thread.AppendJSON(nil, true)
	learned := false
	if i := len(thread.Bindings) - 1; i >= 0 && thread.Bindings[i].Until.IsZero() && thread.Bindings[i].Remote.ThreadID == t.Remote.ThreadID && isOf(thread.Bindings[i], b) {
		t.Update.Apply(&thread.Thread)
		if held := &thread.Bindings[i].Remote; held.UserID == "" && t.Remote.UserID != "" {
			held.UserID, learned = t.Remote.UserID, true
		}
	}
	if len(a.fresh)+len(a.known) == 0 && !learned && bytes.Equal(before, thread.AppendJSON(nil, true)) {
		return 0, false, nil
	}
	if *what == unchanged {
		*what = finished
	}
	if im.req.DryRun {
		return len(a.fresh), false, nil
	}
	for _, f := range a.fresh {
		if f.Message.CreatedAt.After(thread.UpdatedAt) {
			thread.UpdatedAt = f.Message.CreatedAt
		}
	}
	if err := e.store.Merge(ctx, store.Merge{Thread: thread, Known: a.known, New: a.fresh}); err != nil {
		return 0, false, err
	}
	return len(a.fresh), more, nil
}

// transcript reads all messages of a thread, oldest first, with the vendors' objects.
func (e *Engine) transcript(ctx context.Context, tenant, threadID string) ([]store.StoredMessage, error) {
	var all []store.StoredMessage
	for r := (store.Range{Limit: 200, Ascending: true, Raw: true}); ; {
		page, more, err := e.store.Messages(ctx, tenant, threadID, r)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if !more {
			return all, nil
		}
		r.After.Seq = page[len(page)-1].Seq
	}
}
