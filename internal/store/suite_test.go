package store

import (
	"maps"
	"slices"
	"testing"
)

// testStore holds every promise of a Store. A dialect calls it with a way to open
// an empty database of its own.
func testStore(t *testing.T, open func(t *testing.T) *Store) {
	promises := map[string]func(*testing.T, *fixture){
		"ThreadComesBackAsItWasStored":                threadComesBackAsItWasStored,
		"MessageComesBackAsItWasStored":               messageComesBackAsItWasStored,
		"TextComesBackByteForByte":                    textComesBackByteForByte,
		"ThreadIsMadeOnce":                            threadIsMadeOnce,
		"ThreadsAreListedInOrderAndPagesMeet":         threadsAreListedInOrderAndPagesMeet,
		"PagesStayTrueWhileThreadsAreAdded":           pagesStayTrueWhileThreadsAreAdded,
		"EachFilterSelects":                           eachFilterSelects,
		"SearchTakesItsTextLiterally":                 searchTakesItsTextLiterally,
		"TagsAreFoundAsTheyAreNow":                    tagsAreFoundAsTheyAreNow,
		"AnotherTenantSeesAndChangesNothing":          anotherTenantSeesAndChangesNothing,
		"UpdateThreadIsWholeOrNothing":                updateThreadIsWholeOrNothing,
		"UpdateThreadAppendsNotices":                  updateThreadAppendsNotices,
		"DeletedThreadLeavesNothing":                  deletedThreadLeavesNothing,
		"SendIsStoredAsItGoes":                        sendIsStoredAsItGoes,
		"EventsAreRecordedWithWhatTheyTellOf":         eventsAreRecordedWithWhatTheyTellOf,
		"DeadRunLeavesWhatItSaved":                    deadRunLeavesWhatItSaved,
		"NewThreadIsMadeWithItsMessage":               newThreadIsMadeWithItsMessage,
		"OneSendHoldsAThread":                         oneSendHoldsAThread,
		"AcceptSeesThatTheThreadHasChanged":           acceptSeesThatTheThreadHasChanged,
		"LateWritesOfALostRunAreRefused":              lateWritesOfALostRunAreRefused,
		"TakingOverSettlesTheRunBefore":               takingOverSettlesTheRunBefore,
		"ChangeDuringASendIsNotLost":                  changeDuringASendIsNotLost,
		"BindingsAreAppendOnly":                       bindingsAreAppendOnly,
		"BindingIsDurableBeforeTheSend":               bindingIsDurableBeforeTheSend,
		"RepeatedKeyGetsTheStoredAnswer":              repeatedKeyGetsTheStoredAnswer,
		"KeyMatchesByPathAndBody":                     keyMatchesByPathAndBody,
		"KeyOfAFailedMessageRunsTheSameMessageAgain":  keyOfAFailedMessageRunsTheSameMessageAgain,
		"KeyRunsNoOtherMessage":                       keyRunsNoOtherMessage,
		"KeyRunsWhileItsMessageIsSentAgain":           keyRunsWhileItsMessageIsSentAgain,
		"KeyOfADeadRunIsSettledByItsRepeat":           keyOfADeadRunIsSettledByItsRepeat,
		"ResendKeepsTheMessage":                       resendKeepsTheMessage,
		"SweepTakesOldKeysThatDoNotRun":               sweepTakesOldKeysThatDoNotRun,
		"SweepRacesARepeat":                           sweepRacesARepeat,
		"RecoverSettlesWhatACrashLeft":                recoverSettlesWhatACrashLeft,
		"ExpiredSendsAreSettledAndOthersLeftAlone":    expiredSendsAreSettledAndOthersLeftAlone,
		"RenewedLeaseIsHeldAndALostOneTold":           renewedLeaseIsHeldAndALostOneTold,
		"UnknownMessagesAreListedUntilTheyAreSettled": unknownMessagesAreListedUntilTheyAreSettled,
		"UnsettledNamesOnlyACertainConversation":      unsettledNamesOnlyACertainConversation,
		"PostponedMessageWaitsForItsTime":             postponedMessageWaitsForItsTime,
		"SettledMessageAnswersItsKey":                 settledMessageAnswersItsKey,
		"UnsettledIsWhatOneBackendAloneMayHave":       unsettledIsWhatOneBackendAloneMayHave,
		"ResendThatDiesLeavesItsMessageUnknown":       resendThatDiesLeavesItsMessageUnknown,
		"SettleIsWholeOrNothing":                      settleIsWholeOrNothing,
		"RecoverWorksInBatches":                       recoverWorksInBatches,
		"HistoryIsWhatWasSaid":                        historyIsWhatWasSaid,
		"TranscriptPagesMeet":                         transcriptPagesMeet,
		"UpdateMessageKeepsItsIdentity":               updateMessageKeepsItsIdentity,
		"OneBadWriteHurtsNoOther":                     oneBadWriteHurtsNoOther,
		"PanicOfAChangeHurtsNoOther":                  panicOfAChangeHurtsNoOther,
		"GivenUpWriteNeverBegins":                     givenUpWriteNeverBegins,
		"OneKeyRunsOnce":                              oneKeyRunsOnce,
		"HundredGoroutinesAgree":                      hundredGoroutinesAgree,
		"OpenedThreadIsWhole":                         openedThreadIsWhole,
		"NameAndClaimStandForOneThread":               nameAndClaimStandForOneThread,
		"AnotherTenantsConversationIsTaken":           anotherTenantsConversationIsTaken,
		"ManyOpeningsMakeOneThread":                   manyOpeningsMakeOneThread,
		"WhatAThreadIsFoundByGoesWithIt":              whatAThreadIsFoundByGoesWithIt,
		"RecordsAreKeptByTheirName":                   recordsAreKeptByTheirName,
		"MessagesAreFoundWithoutTheirThread":          messagesAreFoundWithoutTheirThread,
		"ThreadsOfABotAreListedByOffset":              threadsOfABotAreListedByOffset,
		"TranscriptIsReadByOffset":                    transcriptIsReadByOffset,
		"PingWrites":                                  pingWrites,
		"TenantsComeInOrder":                          tenantsComeInOrder,
		"ThreadsByIDStandStill":                       threadsByIDStandStill,
		"TranscriptEndsAtEachBound":                   transcriptEndsAtEachBound,
		"ImportedThreadIsAsItWas":                     importedThreadIsAsItWas,
		"ImportIsWholeOrNothing":                      importIsWholeOrNothing,
		"ErasedThreadLeavesItsConversationsToErase":   erasedThreadLeavesItsConversationsToErase,
		"PurgeTakesOldThreadsThatNobodyHolds":         purgeTakesOldThreadsThatNobodyHolds,
		"ClosedStoreSaysSo":                           closedStoreSaysSo,
	}
	for _, name := range slices.Sorted(maps.Keys(promises)) {
		t.Run(name, func(t *testing.T) { promises[name](t, &fixture{Store: open(t), t: t}) })
	}
}
