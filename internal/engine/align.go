package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// aligned is what a vendor's list adds to a stored transcript.
type aligned struct {
	known []normalize.Message // stored messages of which the vendor tells more, as they are to be
	fresh []store.Insertion   // messages that are not stored, each with its place
}

// align finds for each message of a vendor's list the stored one that it is: by the
// vendor's id, else by who said what between its neighbours. What is left is new, and
// comes behind the message that it followed at the vendor.
func align(listed []normalize.Message, stored []store.StoredMessage, threadID, backendName string) aligned {
	where := make(map[string]int) // in stored, by the vendor's id
	for i, s := range stored {
		if s.RemoteID != "" && s.Backend == backendName {
			where[s.RemoteID] = i
		}
	}
	place := make([]int, len(listed)) // in stored; -1: none
	taken := make(map[int]bool)
	for i, m := range listed {
		place[i] = -1
		if at, ok := where[m.RemoteID]; ok && m.RemoteID != "" && !taken[at] {
			place[i], taken[at] = at, true
		}
	}
	before := -1
	for i, m := range listed {
		if place[i] >= 0 {
			before = max(before, place[i])
			continue
		}
		end := len(stored)
		for _, later := range place[i+1:] {
			if later > before {
				end = later
				break
			}
		}
		for at := before + 1; at < end; at++ {
			if !taken[at] && stored[at].Backend == backendName && isStoredAs(m, stored[at].Message) {
				place[i], taken[at], before = at, true, at
				break
			}
		}
	}
	return placed(listed, stored, place, threadID, backendName)
}

// isStoredAs reports whether a message of a vendor's list is a stored one, by who said
// what: what failed was never said, and of an answer that was cut the beginning is
// enough.
func isStoredAs(m, s normalize.Message) bool {
	switch {
	case s.Status == normalize.StatusFailed, s.Notice == noticeMoved, (m.Role == normalize.RoleUser) != (s.Role == normalize.RoleUser):
		return false
	case s.Role == normalize.RoleUser:
		return isSaid(m, s.Text) && (s.Text != "" || len(m.Attachments) == len(s.Attachments))
	case s.Status == normalize.StatusIncomplete:
		return s.Text != "" && strings.HasPrefix(m.Text, s.Text)
	}
	return m.Text == s.Text && m.Notice == s.Notice && (m.Text != "" || len(m.Attachments) == len(s.Attachments))
}

// placed makes of the places what is to be written.
func placed(listed []normalize.Message, stored []store.StoredMessage, place []int, threadID, backendName string) (a aligned) {
	question := "" // the last that the person said, by our id
	after := firstPlace(listed, stored, place)
	for i, m := range listed {
		if at := place[i]; at >= 0 {
			s := stored[at]
			if more, ok := completedBy(s.Message, m); ok {
				a.known = append(a.known, more)
			}
			after = s.Seq
			if s.Role == normalize.RoleUser {
				question = s.ID
			}
			continue
		}
		m.ID, m.ThreadID, m.Backend = importedID(normalize.PrefixMessage, m.CreatedAt, threadID, m.RemoteID, string(m.Role), m.Text, ordinal(m, i)), threadID, backendName
		switch {
		case m.Role == normalize.RoleUser:
			question, m.Status = m.ID, normalize.StatusSent
		case m.Role != normalize.RoleSystem:
			m.InReplyTo = question
			fallthrough
		default:
			m.Status = normalize.StatusComplete
		}
		a.fresh = append(a.fresh, store.Insertion{After: after, Message: m})
	}
	return a
}

// ordinal tells messages apart that have no id of the vendor's.
func ordinal(m normalize.Message, i int) string {
	if m.RemoteID != "" {
		return ""
	}
	return strconv.Itoa(i)
}

// firstPlace is where the messages go that come before all that are known: before the
// first of those, or, where none is known, behind what was said until then.
func firstPlace(listed []normalize.Message, stored []store.StoredMessage, place []int) int64 {
	for _, at := range place {
		if at >= 0 {
			return stored[at].Seq - 1
		}
	}
	if len(listed) == 0 {
		return 0
	}
	for _, s := range slices.Backward(stored) {
		if !s.CreatedAt.After(listed[0].CreatedAt) {
			return s.Seq
		}
	}
	return 0
}

// completedBy fills in what a vendor's list tells of a stored message, and reports
// whether that is anything. What is stored is not replaced, except for an answer that
// was cut, and whether a message was read.
func completedBy(s, m normalize.Message) (normalize.Message, bool) {
	changed := false
	fill := func(dst *string, value string) {
		if *dst == "" && value != "" {
			*dst, changed = value, true
		}
	}
	fill(&s.RemoteID, m.RemoteID)
	if s.Status == normalize.StatusIncomplete && strings.HasPrefix(m.Text, s.Text) {
		s.Text, s.Status, s.Reason, changed = m.Text, normalize.StatusComplete, "", true
	}
	if s.Feedback == "" && m.Feedback != "" {
		s.Feedback, changed = m.Feedback, true
	}
	if m.Read != nil && (s.Read == nil || *s.Read != *m.Read) {
		s.Read, changed = m.Read, true
	}
	if len(s.Sources) == 0 && len(m.Sources) > 0 {
		s.Sources, changed = m.Sources, true
	}
	if s.Raw == nil && m.Raw != nil {
		s.Raw, changed = m.Raw, true
	} else {
		s.Raw = nil // as it is stored
	}
	return s, changed
}

// importedID makes an id that follows from what it names: the same import makes the
// same ids, so that nothing is stored twice, whoever does it at the same moment.
func importedID(prefix string, at time.Time, facts ...string) string {
	h := sha256.New()
	for _, fact := range facts {
		h.Write(binary.AppendUvarint(nil, uint64(len(fact))))
		h.Write([]byte(fact))
	}
	var id [16]byte
	if ms := at.UnixMilli(); !at.IsZero() && ms > 0 {
		binary.BigEndian.PutUint64(id[:8], uint64(ms)<<16)
	}
	copy(id[6:], h.Sum(nil))
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80 // UUID version 7
	return normalize.FormatID(prefix, id)
}
