package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"chatmux/adapters"
	"chatmux/adapters/all"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// onceSpec is an adapter for a made-up vendor that takes a key along with each
// message. It stands in tests only.
var onceSpec = adapters.Spec{
	Name: "once", Settings: func() adapters.Settings { return &onceSettings{} },
	Open: func(s adapters.Settings, env adapters.Env) (adapters.Adapter, error) {
		client, err := vendorhttp.New(vendorhttp.Options{BaseURL: s.(*onceSettings).BaseURL, Env: env})
		return &once{client}, err
	},
}

type onceSettings struct {
	BaseURL adapters.BaseURL `yaml:"base_url"`
}

type once struct{ *vendorhttp.Client }

func (o *once) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	return o.SendOnce(ctx, turn, "")
}

func (o *once) SendOnce(ctx context.Context, turn adapters.Turn, key string) (adapters.Reply, error) {
	body, err := json.Marshal(map[string]string{"text": turn.Message.Text, "key": key})
	if err != nil {
		return adapters.Reply{}, err
	}
	answer, err := o.Do(ctx, vendorhttp.Call{Method: http.MethodPost, Path: "/say", Body: body})
	if err != nil {
		return adapters.Reply{}, err
	}
	return adapters.Reply{Messages: []normalize.Message{{Text: string(answer.Body)}}}, nil
}

// onceVendor cuts the first connections after it has the message.
type onceVendor struct {
	mu   sync.Mutex
	cuts int
	keys []string          // what arrived, in order
	done map[string]string // what each key brought about
}

func (v *onceVendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var said struct{ Text, Key string }
	if err := json.NewDecoder(r.Body).Decode(&said); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	v.mu.Lock()
	v.keys = append(v.keys, said.Key)
	if v.done[said.Key] == "" {
		v.done[said.Key] = fmt.Sprintf("effect %d", len(v.done)+1)
	}
	answer, cut := v.done[said.Key], v.cuts > 0
	v.cuts--
	v.mu.Unlock()
	if cut {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprint(w, answer)
}

// seen gives the keys that arrived, and how many effects they had.
func (v *onceVendor) seen() (keys []string, effects int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.keys), len(v.done)
}

func startOnce(t *testing.T, newStore storeMaker, cuts int) (*house, *onceVendor) {
	t.Helper()
	vendor := &onceVendor{cuts: cuts, done: map[string]string{}}
	server := httptest.NewServer(vendor)
	t.Cleanup(server.Close)
	h := startHouse(t, fmt.Sprintf(`
listen: 127.0.0.1:0
store: %s
limits: {drain: {delay: 0s, grace: 5s}}
backends:
  - {name: i, adapter: once, settings: {base_url: "%s"}, retry: {attempts: 2, base: 1ms, cap: 1ms}}
routes:
  - {name: default, to: i}
`, newStore(t), server.URL), append(all.Adapters(), onceSpec)...)
	return h, vendor
}

func TestR18_a_vendor_that_takes_a_key_is_asked_again_under_the_same_key(t *testing.T) {
	onEachStore(t, testR18)
}

func testR18(t *testing.T, newStore storeMaker) {
	h, vendor := startOnce(t, newStore, 1)
	got := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}, "Idempotency-Key", "the-callers-own"), 200)
	if got.Replies[0].Text != "effect 1" || got.Message.Status != "sent" {
		t.Errorf("turn %+v", got)
	}
	keys, _ := vendor.seen()
	if diff := cmp.Diff([]string{got.Message.ID, got.Message.ID}, keys); diff != "" {
		t.Errorf("keys at the vendor (-want +got):\n%s", diff)
	}
}

func TestAVendorThatTakesAKeyIsNotAskedMoreOftenThanItsRetriesSay(t *testing.T) {
	onEachStore(t, testAVendorThatTakesAKeyIsNotAskedMoreOftenThanItsRetriesSay)
}

func testAVendorThatTakesAKeyIsNotAskedMoreOftenThanItsRetriesSay(t *testing.T, newStore storeMaker) {
	h, vendor := startOnce(t, newStore, 3)
	p := read[problem](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 502)
	if keys, _ := vendor.seen(); p.Code != "backend_error" || p.Outcome != "unknown" || len(keys) != 2 {
		t.Errorf("problem %+v after %d requests", p, len(keys))
	}
	id := read[struct{ Data []thread }](t, h.call("GET", "/v1/threads", nil), 200).Data[0].ID
	h.call("POST", "/v1/threads/"+id+"/messages/"+p.MessageID+"/resend", nil)
	if _, n := vendor.seen(); n != 1 {
		t.Errorf("%d effects, want 1: a resend goes out under the same key", n)
	}
}
