-- What is known of given messages: by conversation, message and time of sending in ms.
${app} = {app:String}
AND has(
    arrayZip({conversations:Array(String)}, {messages:Array(String)}, {sent_at:Array(Int64)}),
    (${conversation}, ${message}, ${sent_at_millis}))
