package engine

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"chatmux/adapters"
	"chatmux/internal/backend"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// deliver asks the chain, once through, until somebody answered or nobody may be
// asked any more: the answer, or the failure that the caller sees. Beside a failure
// stand the last backend that was reached and what is certain of its reply. An
// error is a refusal or a fault of our own; then there is nothing to finish.
func (s *sending) deliver() (*backend.Backend, adapters.Reply, *normalize.Error, error) {
	var reachedLast *backend.Backend
	var certain adapters.Reply
	for i, b := range s.chain {
		others := i < len(s.chain)-1
		for try := 1; ; try++ {
			reply, failure, err := s.attempt(b)
			if err != nil {
				return nil, adapters.Reply{}, nil, err
			}
			if failure == nil {
				return b, s.await(b, reply), nil, nil
			}
			s.failures = append(s.failures, failure)
			if reached(failure) && !s.unsent {
				reachedLast, certain = b, reply
			}
			if status := failure.MessageStatus(); !s.unsent && graver(status, s.status) {
				s.status = status
			}
			if s.ctx.Err() != nil || s.attempts >= maxAttempts || failure.Phase == normalize.PhaseContent {
				return reachedLast, certain, s.verdict(), nil
			}
			if others && s.mayGoElsewhere(b, failure) {
				break
			}
			if !s.waitToTryAgain(b, failure, try) {
				return reachedLast, certain, s.verdict(), nil
			}
		}
	}
	return nil, adapters.Reply{}, s.verdict(), nil
}

// attempt asks one backend once. The attempt is durable before anything is dialled.
func (s *sending) attempt(b *backend.Backend) (adapters.Reply, *normalize.Error, error) {
	s.unsent = true
	if b.Uploads() {
		if failure := s.fetch(); failure != nil { // before anything of the backend is taken
			return adapters.Reply{}, failure, nil
		}
	}
	admission, refusal := b.Admit(s.ctx)
	if refusal != nil {
		return adapters.Reply{}, refusal, nil
	}
	defer admission.Release()
	row := store.Attempt{
		ID: newID("att"), ThreadID: s.thread.ID, MessageID: s.message.ID, Backend: b.Name(), Epoch: s.epoch, StartedAt: now(),
	}
	if !s.accepted {
		if err := s.accept(&row); err != nil {
			return adapters.Reply{}, nil, err
		}
	} else if err := s.engine.store.BeginAttempt(context.WithoutCancel(s.ctx), row, s.open); err != nil {
		return adapters.Reply{}, nil, err
	}
	s.open = &store.AttemptEnd{ID: row.ID}
	s.attempts++
	began := time.Now()
	reply, failure, err := s.ask(admission, b)
	s.upstream += time.Since(began)
	s.open.EndedAt = now()
	if err != nil { // the store failed before the message itself was sent
		s.open.Kind = normalize.KindStorageUnavailable.String()
		return adapters.Reply{}, nil, err
	}
	if failure != nil {
		s.open.Kind = failure.Kind.String()
		if !s.unsent {
			s.open.Phase = int(failure.Phase)
		}
	}
	return reply, failure, nil
}

// ask makes at the vendor what has to be there before the message, and sends it.
func (s *sending) ask(admission *backend.Admission, b *backend.Backend) (adapters.Reply, *normalize.Error, error) {
	remote, failure, err := s.prepare(admission, b)
	if failure != nil || err != nil {
		return adapters.Reply{}, failure, err
	}
	turn, err := s.turnFor(b, remote)
	if err != nil {
		return adapters.Reply{}, nil, err
	}
	if turn.Message.Attachments, failure = s.upload(admission, b); failure != nil {
		return adapters.Reply{}, failure, nil
	}
	s.unsent = false
	if s.observe != nil && b.Streams(turn.Message) {
		reply, failure := s.stream(admission, b, turn)
		return reply, failure, nil
	}
	reply, failure := admission.Send(s.ctx, turn)
	return reply, failure, nil
}

// prepare gives the remote ids of this thread at the backend, made there now where
// that is needed. Of a thread that nobody holds they are durable before the message
// is sent; the binding of one that moves changes with the answer.
func (s *sending) prepare(admission *backend.Admission, b *backend.Backend) (normalize.Remote, *normalize.Error, error) {
	remote := s.remoteAt(b)
	if !b.NeedsPreparing(remote) {
		return remote, nil, nil
	}
	made, told, failure := admission.Prepare(s.ctx, s.thread.Thread, remote)
	if made == remote {
		return remote, failure, nil
	}
	if s.remotes == nil {
		s.remotes = make(map[string]normalize.Remote)
	}
	s.remotes[b.Name()] = made
	if holder, held := s.thread.Binding(); held && holder.Backend != b.Name() && !s.unheld {
		return made, failure, nil
	}
	s.told = told
	bind(&s.thread.Thread, b, made, s.reason(), now())
	binding, _ := s.thread.Binding()
	ctx := context.WithoutCancel(s.ctx)
	if err := s.engine.store.SaveBinding(ctx, s.thread.Tenant, s.thread.ID, s.epoch, binding, now()); err != nil {
		return made, nil, err
	}
	return made, failure, nil
}

// reason says why a binding begins that follows from routing alone.
func (s *sending) reason() string {
	if len(s.failures) > 0 {
		return "fallback"
	}
	return "routed"
}

// fetch gets the files that the message names by URL, once for all attempts.
func (s *sending) fetch() *normalize.Error {
	if s.files != nil || s.engine.fetch == nil {
		return nil
	}
	files := make([]adapters.File, len(s.message.Attachments))
	for i, a := range s.message.Attachments {
		if a.ID != "" {
			continue
		}
		file, failure := s.engine.fetch(s.ctx, a.URL, maxFile)
		if failure != nil {
			return failure
		}
		file.Type, file.Name, file.ContentType = a.Type, cmp.Or(a.Filename, file.Name), cmp.Or(a.ContentType, file.ContentType)
		files[i] = file
	}
	s.files = files
	return nil
}

// upload gives the backend the files that it does not have yet, and returns the
// attachments as the message is to name them.
func (s *sending) upload(admission *backend.Admission, b *backend.Backend) ([]normalize.Attachment, *normalize.Error) {
	if s.files == nil || !b.Uploads() {
		return s.message.Attachments, nil
	}
	if done := s.uploaded[b.Name()]; done != nil {
		return done, nil
	}
	done := slices.Clone(s.message.Attachments)
	for i := range done {
		if done[i].ID != "" {
			continue
		}
		id, failure := admission.Upload(s.ctx, s.files[i])
		if failure != nil {
			return nil, failure
		}
		done[i].ID = id
	}
	if s.uploaded == nil {
		s.uploaded = make(map[string][]normalize.Attachment)
	}
	s.uploaded[b.Name()] = done
	return done, nil
}

// remoteAt gives the remote ids of the thread at a backend, as far as known.
func (s *sending) remoteAt(b *backend.Backend) normalize.Remote {
	if made, ok := s.remotes[b.Name()]; ok {
		return made
	}
	return lastRemote(&s.thread.Thread, b)
}

// reached reports whether a failure tells that the vendor got something of us.
func reached(failure *normalize.Error) bool {
	return failure.Phase != normalize.PhaseNone || failure.VendorStatus != 0
}

// turnedAway reports whether a backend was not available, be it by the vendor's word.
// One that has begun to answer was.
func turnedAway(failure *normalize.Error) bool {
	return failure.Kind.Policy().Status == http.StatusServiceUnavailable && failure.Kind != normalize.KindCanceled &&
		failure.Phase != normalize.PhaseContent
}

// graver orders what attempts leave behind: failed, unknown, sent.
func graver(a, b normalize.MessageStatus) bool {
	return a == normalize.StatusSent && b != normalize.StatusSent || a == normalize.StatusUnknown && b == normalize.StatusFailed
}

// mayGoElsewhere reports whether another backend may be asked after this failure.
func (s *sending) mayGoElsewhere(b *backend.Backend, failure *normalize.Error) bool {
	if s.unsent {
		return failure.Kind.Policy().Status != http.StatusUnprocessableEntity || failure.VendorStatus != 0 // not the caller's own mistake
	}
	switch failure.Kind.Policy().Elsewhere {
	case normalize.ElsewhereAtOnce:
		return true
	case normalize.ElsewhereIfForgetful:
		return !b.Stateful() || s.route != nil && s.route.FallbackOnUnknown
	case normalize.ElsewhereIfStateless:
		return !b.Stateful()
	default:
		return false
	}
}

// waitToTryAgain waits as long as it takes until the same backend may be asked once
// more. False where it may not, where the wait does not fit the budget, or where
// the budget ended meanwhile.
func (s *sending) waitToTryAgain(b *backend.Backend, failure *normalize.Error, try int) bool {
	limits := b.Retry()
	if try >= limits.Attempts {
		return false
	}
	again := failure.Kind.Policy().Again
	if again == normalize.AgainIfIdempotent && b.Idempotent() && s.plain() {
		again = normalize.AgainBackedOff
	}
	var wait time.Duration
	switch again {
	case normalize.AgainBackedOff:
		wait = rand.N(min(limits.Base<<(try-1), limits.Cap)) + 1 // full jitter
	case normalize.AgainAfterWait:
		wait = failure.RetryAfter
	default:
		return false
	}
	if deadline, ok := s.ctx.Deadline(); ok && time.Until(deadline) <= wait || !b.AllowRetry() {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// plain reports whether the message is an ordinary one of the person's, without
// attachments: the only kind that can be sent under a key.
func (s *sending) plain() bool {
	return s.message.Role == normalize.RoleUser && len(s.message.Attachments) == 0
}

// verdict is the failure that the caller sees. If only one backend came into
// question it is its own; else that of the last one that was reached and took the
// message or refused it; if none did, that no backend is available, with the shortest
// wait of all.
func (s *sending) verdict() *normalize.Error {
	last := s.failures[len(s.failures)-1]
	if len(s.chain) > 1 {
		none := &normalize.Error{Kind: normalize.KindNoBackend}
		for _, f := range s.failures {
			if !turnedAway(f) {
				none = nil
				last = f
			} else if none != nil && f.RetryAfter > 0 && (none.RetryAfter == 0 || f.RetryAfter < none.RetryAfter) {
				none.RetryAfter = f.RetryAfter
			}
		}
		if none != nil {
			return none
		}
	}
	shown := *last
	return &shown
}
