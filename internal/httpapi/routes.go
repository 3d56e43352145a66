package httpapi

import (
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"chatmux/adapters"
	"chatmux/normalize"
)

// endpoint is one path and its methods.
type endpoint struct {
	path    string
	methods []method
	allow   string            // value of the Allow header
	tongue  *adapters.Dialect // nil: our own API
}

// method is what one method of a path does.
type method struct {
	name  string
	gate  gate
	serve func(*call) error
}

// gate says how much of the door a request has to pass.
type gate int

const (
	gateOpen gate = iota // none of it: probes, metrics, documents
	gateHook             // the secret in the path: a vendor calls
	gateKey              // a known caller within its rate
	gateSend             // gateKey, and a free place among the sends
)

// endpoints is the table of everything that is served. The router tries paths one
// after the other, so those of messages stand first.
func endpoints(metrics http.Handler, dialects []*adapters.Dialect) []endpoint {
	list := []endpoint{
		{path: "/v1/threads/{thread}/messages", methods: []method{
			{http.MethodGet, gateKey, (*call).listMessages},
			{http.MethodPost, gateSend, (*call).sendToThread},
		}},
		{path: "/v1/messages", methods: []method{
			{http.MethodPost, gateSend, (*call).sendFirst},
		}},
		{path: "/v1/threads/{thread}", methods: []method{
			{http.MethodGet, gateKey, (*call).readThread},
			{http.MethodPatch, gateKey, (*call).updateThread},
			{http.MethodDelete, gateKey, (*call).deleteThread},
		}},
		{path: "/v1/threads", methods: []method{
			{http.MethodGet, gateKey, (*call).listThreads},
			{http.MethodPost, gateKey, (*call).createThread},
		}},
		{path: "/v1/threads/{thread}/messages/{message}", methods: []method{
			{http.MethodGet, gateKey, (*call).readMessage},
		}},
		{path: "/v1/threads/{thread}/messages/{message}/resend", methods: []method{
			{http.MethodPost, gateSend, (*call).resend},
		}},
		{path: "/v1/threads/{thread}/messages/{message}/feedback", methods: []method{
			{http.MethodPost, gateKey, (*call).setFeedback},
		}},
		{path: "/v1/threads/{thread}/events", methods: []method{
			{http.MethodGet, gateKey, (*call).events},
		}},
		{path: "/v1/threads/{thread}/move", methods: []method{
			{http.MethodPost, gateKey, (*call).move},
		}},
		{path: "/v1/webhooks/deliveries", methods: []method{
			{http.MethodGet, gateKey, (*call).listDeliveries},
		}},
		{path: "/v1/webhooks/deliveries/{delivery}/redeliver", methods: []method{
			{http.MethodPost, gateKey, (*call).redeliver},
		}},
		{path: "/v1/routes/explain", methods: []method{
			{http.MethodPost, gateKey, (*call).explain},
		}},
		{path: "/v1/plan", methods: []method{
			{http.MethodGet, gateKey, (*call).plan},
		}},
		{path: "/v1/export", methods: []method{
			{http.MethodGet, gateKey, (*call).export},
		}},
		{path: "/v1/backends", methods: []method{
			{http.MethodGet, gateKey, (*call).listBackends},
		}},
		{path: "/v1/backends/{backend}", methods: []method{
			{http.MethodGet, gateKey, (*call).readBackend},
		}},
		{path: "/hooks/{backend}/{secret}", methods: []method{{http.MethodPost, gateHook, (*call).hook}}},
		{path: "/healthz", methods: []method{{http.MethodGet, gateOpen, (*call).health}}},
		{path: "/readyz", methods: []method{{http.MethodGet, gateOpen, (*call).ready}}},
		{path: "/openapi.json", methods: []method{{http.MethodGet, gateOpen, (*call).openAPI}}},
		{path: "/docs", methods: []method{{http.MethodGet, gateOpen, (*call).docsPage}}},
		{path: "/docs/{file}", methods: []method{{http.MethodGet, gateOpen, (*call).docsFile}}},
	}
	if metrics != nil {
		list = append(list, endpoint{path: "/metrics", methods: []method{{http.MethodGet, gateOpen, func(c *call) error {
			metrics.ServeHTTP(c, c.r)
			return nil
		}}}})
	}
	for _, d := range dialects {
		list = append(list, dialectEndpoints(d)...)
	}
	for i := range list {
		list[i].allow = allow(list[i].methods)
	}
	return list
}

func allow(methods []method) string {
	var names []string
	for _, m := range methods {
		names = append(names, m.name)
		if m.name == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	return strings.Join(names, ", ")
}

// method finds what a request's method does here; HEAD is a GET whose body
// net/http leaves out.
func (e *endpoint) method(name string) *method {
	if name == http.MethodHead {
		name = http.MethodGet
	}
	for i := range e.methods {
		if e.methods[i].name == name {
			return &e.methods[i]
		}
	}
	return nil
}

// newRouter puts every path on the router by itself, without its methods: mux
// would answer 405 without Allow, and redirect paths that it would like cleaner.
func (a *API) newRouter() *mux.Router {
	router := mux.NewRouter().UseEncodedPath().SkipClean(true)
	for i := range a.endpoints {
		e := &a.endpoints[i]
		serve := func(w http.ResponseWriter, r *http.Request) {
			c := w.(*call)
			c.r, c.route, c.tongue = r, e.path, e.tongue
			c.enter(e)
		}
		router.HandleFunc(e.path, serve)
		if bare, slash := strings.CutSuffix(e.path, "/"); slash {
			router.HandleFunc(bare, serve)
		}
	}
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := w.(*call)
		c.tongue = a.dialectOf(r.URL.EscapedPath())
		c.fail(&normalize.Error{Kind: normalize.KindNotFound})
	})
	return router
}
