package rest

import (
	"cmp"
	"net/http"
	"time"

	"chatmux/adapters"
	"chatmux/normalize"
)

// Settings is the `settings` block of a backend with this adapter: the description of
// a vendor's API. Which talents the adapter has follows from which blocks are there.
type Settings struct {
	BaseURL      adapters.BaseURL            `yaml:"base_url" doc:"where the API lives; all paths are below it"`
	APIKey       normalize.Secret            `yaml:"api_key" doc:"the key; leave it out where the vendor takes none"`
	Auth         Auth                        `yaml:"auth" doc:"how the key is sent"`
	Headers      map[string]normalize.Secret `yaml:"headers" doc:"further headers of every request, as the version of the API; their values are never shown"`
	Bot          string                      `yaml:"bot" doc:"the vendor's id of the bot, as templates know it: {{bot}}"`
	RemoteID     Text                        `yaml:"remote_id" doc:"the id of a conversation, where it is ours to choose, as {{thread.uuid}}"`
	RemoteUserID Text                        `yaml:"remote_user_id" doc:"the vendor's id of a person, where it is ours to choose, as {{user.id}}"`
	Errors       Errors                      `yaml:"errors" doc:"how the vendor tells errors"`

	Send        Send     `yaml:"send" doc:"the call that sends a message"`
	Stream      *Stream  `yaml:"stream" doc:"the call that sends a message and tells the answer as server-sent events"`
	Poll        *Poll    `yaml:"poll" doc:"how the answer is waited for that is not in the answer to send; needs list_messages and send.reply.sent.id"`
	Attachments *Files   `yaml:"attachments" doc:"for a vendor that takes files by their URL: what they look like, as {{attachments}} in a body"`
	History     *History `yaml:"history" doc:"for a vendor that keeps no conversation: what was said before, as {{history}} in a body"`

	SendToHuman     *Storing    `yaml:"send_to_human" doc:"the call that stores a message while a human has the thread; without it send is used"`
	SendAsOperator  *Storing    `yaml:"send_as_operator" doc:"the call that stores what a human of the vendor's side says"`
	CreateUser      *UserCall   `yaml:"create_user" doc:"the call that creates the person before the first message"`
	CreateThread    *ThreadCall `yaml:"create_thread" doc:"the call that creates a conversation before the first message"`
	ReadThread      *ThreadCall `yaml:"read_thread" doc:"the call that reads a conversation"`
	ListThreads     *Threads    `yaml:"list_threads" doc:"the call that lists the conversations of the bot"`
	ListMessages    *Messages   `yaml:"list_messages" doc:"the call that lists the messages of a conversation"`
	SwitchMode      *ModeCall   `yaml:"switch_mode" doc:"the call that hands a conversation to a human or back"`
	DeleteThread    *Call       `yaml:"delete_thread" doc:"the call that erases a conversation"`
	Escalate        *Call       `yaml:"escalate" doc:"the call that asks the vendor's side to look at a conversation; {{note}} is what was said to it"`
	RegisterWebhook *Call       `yaml:"register_webhook" doc:"the call that tells the vendor where to send messages: {{webhook.url}} and {{webhook.token}}"`
}

// Auth says how the key is sent.
type Auth struct {
	Header string `yaml:"header" default:"Authorization" doc:"the header that carries the key"`
	Scheme string `yaml:"scheme" default:"Bearer" doc:"the word before the key; an empty text for none"`
}

// Call is one request. Path, query and body are templates.
type Call struct {
	Method string          `yaml:"method" enum:"GET|POST|PUT|PATCH|DELETE" doc:"the method; POST with a body or for what changes something, else GET"`
	Path   Text            `yaml:"path" doc:"the path below base_url, as /conversations/{{remote_id}}"`
	Query  map[string]Text `yaml:"query" doc:"parameters; one whose placeholder has no value is left out"`
	Body   map[string]any  `yaml:"body" doc:"the JSON body as a template; a member whose placeholder has no value is left out"`
}

// Condition is about one value of an answer or an event.
type Condition struct {
	Path Path     `yaml:"path" doc:"where the value is"`
	Is   []string `yaml:"is" doc:"what it may be; nothing: anything but null, false and an empty text"`
}

// Send is the call that sends a message, and how its answer is read.
type Send struct {
	Call      `yaml:",inline"`
	FirstPath Text  `yaml:"first_path" doc:"the path of the first message of a conversation, where it is another one"`
	Reply     Reply `yaml:"reply" doc:"how the answer is read"`
}

// Reply says how the answer to a message is read.
type Reply struct {
	RemoteID     Path      `yaml:"remote_id" doc:"where the conversation's id is"`
	RemoteUserID Path      `yaml:"remote_user_id" doc:"where the person's id is"`
	Items        Path      `yaml:"items" doc:"where the list of replies is, or the one: @this where the whole answer is a list; nothing where it is the reply"`
	Each         []Reading `yaml:"each" doc:"how each of them is read, as one message or as several; none: the answer comes later"`
	Sent         Sent      `yaml:"sent" doc:"what is told about the message that was sent"`
	Thread       Thread    `yaml:"thread" doc:"what is told about the conversation"`
}

// Reading says how one message is read.
type Reading struct {
	When       Condition         `yaml:"when" doc:"only items for which this holds are such a message"`
	Role       string            `yaml:"role" enum:"user|assistant|operator|system" doc:"who speaks, where role_path does not say so"`
	RolePath   Path              `yaml:"role_path" doc:"where the vendor's word for who speaks is"`
	Roles      map[string]string `yaml:"roles" doc:"the vendor's words and what they mean: user, assistant, operator or system"`
	Text       Path              `yaml:"text" doc:"where the text is"`
	Attachment Path              `yaml:"attachment" doc:"where the URL of a file is"`
	ID         Path              `yaml:"id" doc:"where the vendor's id of the message is"`
	IDSuffix   string            `yaml:"id_suffix" doc:"what is added to the id, where one id stands for several messages"`
	CreatedAt  Path              `yaml:"created_at" doc:"where its time is"`
	Author     Path              `yaml:"author" doc:"where the name of the author is"`
}

// Sent says where an answer tells about the message that was sent.
type Sent struct {
	ID        Path   `yaml:"id" doc:"where the vendor's id of it is"`
	IDSuffix  string `yaml:"id_suffix" doc:"what is added to the id, as in list_messages"`
	CreatedAt Path   `yaml:"created_at" doc:"where its time is"`
}

// Thread says how a conversation is read.
type Thread struct {
	Item         Path              `yaml:"item" doc:"where the conversation is in the answer; nothing: the answer is the conversation"`
	RemoteID     Path              `yaml:"remote_id" doc:"where its id is"`
	RemoteUserID Path              `yaml:"remote_user_id" doc:"where the person's id is"`
	Mode         Path              `yaml:"mode" doc:"where the vendor says who answers"`
	Modes        map[string]string `yaml:"modes" doc:"the vendor's words for that and what they mean: ai or human"`
	Title        Path              `yaml:"title" doc:"where its title is"`
	UserName     Path              `yaml:"user_name" doc:"where the person's name is"`
	UserEmail    Path              `yaml:"user_email" doc:"where the person's email address is"`
	CreatedAt    Path              `yaml:"created_at" doc:"where the time of its beginning is"`
	UpdatedAt    Path              `yaml:"updated_at" doc:"where the time of its last change is"`
}

// Stream is the call that streams, where it differs from Send, and the grammar of
// the events, each of which is a JSON object.
type Stream struct {
	Call      `yaml:",inline"`
	FirstPath Text      `yaml:"first_path" doc:"the path of the first message of a conversation, where it is another one"`
	When      Condition `yaml:"when" doc:"only events for which this holds have text; nothing: all"`
	Delta     Path      `yaml:"delta" doc:"where a piece of the text is"`
	Done      Condition `yaml:"done" doc:"holds for the event that says that the answer is whole"`
	End       string    `yaml:"end" doc:"the word that is sent as the last event, as [DONE]; where there is done, too, both must come"`
	ID        Path      `yaml:"id" doc:"where the id of the answer is; events of another one are passed over"`
	RemoteID  Path      `yaml:"remote_id" doc:"where the conversation's id is; nothing: where send.reply says"`
	CreatedAt Path      `yaml:"created_at" doc:"where the time of the answer is"`
}

// after gives the call that streams: that of send, but for what is described. With GET
// no body is sent.
func (s *Stream) after(send Call) Call {
	call := s.Call
	call.Path, call.Method = cmp.Or(call.Path, send.Path), cmp.Or(call.Method, send.Method)
	if call.Body == nil && call.Method != http.MethodGet {
		call.Body = send.Body
	}
	if call.Query == nil {
		call.Query = send.Query
	}
	return call
}

// Poll says how the answer to a stored message is waited for.
type Poll struct {
	Every time.Duration `yaml:"every" default:"1s" over:"0" doc:"how often the messages are listed"`
	For   time.Duration `yaml:"for" default:"20s" over:"0" doc:"how long; after that there is no reply, and no failure"`
}

// History says how much of the past goes along, and in what form.
type History struct {
	Messages int                `yaml:"messages" default:"40" min:"0" doc:"at most so many messages"`
	Bytes    normalize.ByteSize `yaml:"bytes" default:"64KiB" doc:"at most so many bytes of text"`
	Each     map[string]any     `yaml:"each" doc:"one message, as a template of {{role}} and {{text}}"`
	Roles    map[string]string  `yaml:"roles" doc:"the vendor's words for user, assistant and operator; a role without a word is left out"`
}

// Files says in what form the files of a message go along.
type Files struct {
	Each  map[string]any    `yaml:"each" doc:"one file, as a template of {{url}}, {{type}}, {{filename}} and {{content_type}}"`
	Types map[string]string `yaml:"types" doc:"the vendor's words for image, audio, video, document, sticker and other; what has no word is other"`
}

// Storing is a call that stores a message that nobody answers.
type Storing struct {
	Call `yaml:",inline"`
	Sent Sent `yaml:"sent" doc:"what is told about the message"`
}

// UserCall is a call that creates a person.
type UserCall struct {
	Call `yaml:",inline"`
	ID   Path `yaml:"id" doc:"where the vendor's id of the person is"`
}

// ThreadCall is a call that answers with a conversation.
type ThreadCall struct {
	Call   `yaml:",inline"`
	Thread Thread `yaml:"thread" doc:"how it is read"`
}

// ModeCall is a call that switches the mode. Its templates know {{mode}}.
type ModeCall struct {
	Call  `yaml:",inline"`
	Modes map[string]any `yaml:"modes" doc:"what {{mode}} is for ai and for human: a text, a number, true or false"`
}

// Threads is a call that lists conversations.
type Threads struct {
	Call  `yaml:",inline"`
	Pages `yaml:",inline"`
	Each  Thread `yaml:"each" doc:"how each item is read"`
}

// Messages is a call that lists messages.
type Messages struct {
	Call  `yaml:",inline"`
	Pages `yaml:",inline"`
	Each  []Reading `yaml:"each" doc:"how each item is read, as one message or as several"`
}

// Pages says where the items of a list are, and how its pages follow each other.
// Templates of a list know {{page.limit}} and {{page.cursor}}.
type Pages struct {
	Items       Path   `yaml:"items" doc:"where the list is; @this where the whole answer is the list"`
	NewestFirst bool   `yaml:"newest_first" doc:"the vendor lists the newest first"`
	MaxLimit    int    `yaml:"max_limit" min:"0" doc:"the largest page that may be asked for; 0: any"`
	Next        Path   `yaml:"next" doc:"where the cursor of the next page is, or a list whose last element it is; null or nothing there: this was the last page"`
	NextParam   string `yaml:"next_parameter" doc:"where next is a URL: the parameter of it that is the cursor"`
	More        Path   `yaml:"more" doc:"where the vendor says, by true or false, whether there is a next page"`
	Numbered    bool   `yaml:"numbered" doc:"{{page.cursor}} is the number of a page, from 1; the list ends with a page that is not full"`
}

// Errors says how the vendor tells errors. The status decides on the kind where no
// rule does.
type Errors struct {
	When       []Condition `yaml:"when" doc:"an answer with status 200, or an event of a stream, is an error where one of these holds"`
	Code       []Path      `yaml:"code" doc:"where the vendor's code is; the first that is there counts"`
	Message    []Path      `yaml:"message" doc:"where the vendor's sentence is; the first that is there counts"`
	Status     Path        `yaml:"status" doc:"where the status is that an error with status 200 should have had"`
	RetryAfter Path        `yaml:"retry_after" doc:"where the seconds to wait are"`
	Kinds      []ErrorKind `yaml:"kinds" doc:"what errors mean; the first rule that fits counts"`
}

// ErrorKind says what errors mean that have one of these codes, texts in their
// sentence, and statuses. What is left out fits all.
type ErrorKind struct {
	Code    []string `yaml:"code" doc:"codes; * stands for any text"`
	Message []string `yaml:"message" doc:"sentences, in any case; * stands for any text"`
	Status  []int    `yaml:"status" doc:"statuses"`
	Kind    string   `yaml:"kind" enum:"unauthorized|quota|rate_limited|overloaded|vendor_fault|rejected" doc:"what it is"`
}
